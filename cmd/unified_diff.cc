#include "cmd/unified_diff.h"

#include <algorithm>
#include <cstdint>
#include <string_view>
#include <vector>

namespace hearth::cmd {

namespace {

constexpr size_t kContext = 3;
constexpr size_t kMaxCells = 16'000'000;  // of the table; beyond it the middle is shown as replaced

using Lines = std::vector<std::string_view>;

// Each with its newline; the last may have none.
Lines Split(std::string_view text) {
  Lines lines;
  while (!text.empty()) {
    const size_t end = std::min(text.find('\n'), text.size() - 1);
    lines.push_back(text.substr(0, end + 1));
    text.remove_prefix(end + 1);
  }
  return lines;
}

struct Line {
  char mark;  // ' ', '-' or '+'
  std::string_view text;
};

// Longest common subsequence of what lies between the common start and the common end.
void DiffMiddle(const Lines& a, const Lines& b, std::vector<Line>& out) {
  if (a.size() * b.size() > kMaxCells) {
    for (const auto& line : a) out.push_back({'-', line});
    for (const auto& line : b) out.push_back({'+', line});
    return;
  }
  const size_t columns = b.size() + 1;
  std::vector<uint32_t> longest((a.size() + 1) * columns, 0);
  for (size_t i = a.size(); i-- > 0;) {
    for (size_t j = b.size(); j-- > 0;) {
      longest[i * columns + j] =
          a[i] == b[j] ? longest[(i + 1) * columns + j + 1] + 1
                       : std::max(longest[(i + 1) * columns + j], longest[i * columns + j + 1]);
    }
  }
  size_t i = 0;
  size_t j = 0;
  while (i < a.size() || j < b.size()) {
    if (i < a.size() && j < b.size() && a[i] == b[j]) {
      out.push_back({' ', a[i++]});
      ++j;
    } else if (j == b.size() ||
               (i < a.size() && longest[(i + 1) * columns + j] >= longest[i * columns + j + 1])) {
      out.push_back({'-', a[i++]});
    } else {
      out.push_back({'+', b[j++]});
    }
  }
}

std::vector<Line> Diff(const Lines& a, const Lines& b) {
  size_t start = 0;
  while (start < a.size() && start < b.size() && a[start] == b[start]) ++start;
  size_t end = 0;
  while (end < a.size() - start && end < b.size() - start &&
         a[a.size() - 1 - end] == b[b.size() - 1 - end]) {
    ++end;
  }
  std::vector<Line> out;
  for (size_t i = 0; i < start; ++i) out.push_back({' ', a[i]});
  DiffMiddle(Lines(a.begin() + start, a.end() - end), Lines(b.begin() + start, b.end() - end), out);
  for (size_t i = a.size() - end; i < a.size(); ++i) out.push_back({' ', a[i]});
  return out;
}

std::string Range(size_t start, size_t count) {
  if (count == 0) return std::to_string(start) + ",0";
  return std::to_string(start + 1) + (count == 1 ? "" : "," + std::to_string(count));
}

// lines[from, to) with its head; `a` and `b` count the lines before it.
std::string Hunk(const std::vector<Line>& lines, size_t from, size_t to, size_t a, size_t b) {
  size_t removed = 0;
  size_t added = 0;
  std::string text;
  for (size_t i = from; i < to; ++i) {
    if (lines[i].mark != '+') ++removed;
    if (lines[i].mark != '-') ++added;
    text += lines[i].mark + std::string(lines[i].text);
    if (text.back() != '\n') text += "\n\\ No newline at end of file\n";
  }
  return "@@ -" + Range(a, removed) + " +" + Range(b, added) + " @@\n" + text;
}

}  // namespace

std::string UnifiedDiff(const std::string& path, const std::optional<std::string>& before,
                        const std::optional<std::string>& after) {
  if (before == after) return "";
  const std::string old_text = before.value_or("");
  const std::string new_text = after.value_or("");
  const std::vector<Line> lines = Diff(Split(old_text), Split(new_text));
  std::string out =
      "--- " + (before ? path : "/dev/null") + "\n+++ " + (after ? path : "/dev/null") + "\n";
  size_t a = 0;  // lines of each side before lines[at]
  size_t b = 0;
  size_t at = 0;
  const auto skip_to = [&](size_t to) {
    for (; at < to; ++at) {
      if (lines[at].mark != '+') ++a;
      if (lines[at].mark != '-') ++b;
    }
  };
  for (size_t i = 0; i < lines.size(); ++i) {
    if (lines[i].mark == ' ') continue;
    skip_to(i > kContext + at ? i - kContext : at);
    size_t last = i;
    for (size_t k = i; k < lines.size() && k <= last + 2 * kContext + 1; ++k) {
      if (lines[k].mark != ' ') last = k;
    }
    const size_t to = std::min(lines.size(), last + kContext + 1);
    out += Hunk(lines, at, to, a, b);
    skip_to(to);
    i = to - 1;
  }
  return out;
}

}  // namespace hearth::cmd
