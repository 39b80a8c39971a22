#include "plugin/toml_edit.h"

#include <algorithm>
#include <cstdio>
#include <utility>

#define TOML_EXCEPTIONS 1
#include <toml++/toml.h>

namespace hearth::plugin {

namespace {

Result<toml::table> Parse(std::string_view text) {
  try {
    return toml::parse(text);
  } catch (const toml::parse_error& error) {
    return InvalidArgument("line " + std::to_string(error.source().begin.line) +
                           ": not TOML: " + std::string(error.description()));
  }
}

const toml::node* Find(const toml::table& root, const TomlPath& path) {
  const toml::node* node = &root;
  for (const std::string& key : path) {
    const toml::table* table = node->as_table();
    node = table == nullptr ? nullptr : table->get(key);
    if (node == nullptr) return nullptr;
  }
  return node;
}

// Byte offset of a position, whose column counts code points.
size_t OffsetOf(std::string_view text, toml::source_position at) {
  size_t offset = 0;
  for (toml::source_index line = 1; line < at.line; ++line) {
    offset = text.find('\n', offset);
    if (offset == std::string_view::npos) return text.size();
    ++offset;
  }
  for (toml::source_index column = 1; column < at.column && offset < text.size(); ++column) {
    ++offset;
    while (offset < text.size() && (static_cast<unsigned char>(text[offset]) & 0xC0) == 0x80) {
      ++offset;
    }
  }
  return offset;
}

Result<const toml::array*> FindList(const toml::table& root, const std::string& key) {
  const toml::node* node = Find(root, {key});
  if (node == nullptr) return static_cast<const toml::array*>(nullptr);
  if (node->as_array() == nullptr) return InvalidArgument(key + " is not a list");
  return node->as_array();
}

// Index of `value`; the list's size where it is not there.
size_t IndexIn(const toml::array& list, const std::string& value) {
  for (size_t i = 0; i < list.size(); ++i) {
    if (const auto* text = list.get(i)->as_string(); text != nullptr && text->get() == value) {
      return i;
    }
  }
  return list.size();
}

// Where a new top-level key goes: after `version`, else at the very start.
size_t PlaceForKey(std::string_view text, const toml::table& root) {
  const toml::node* version = Find(root, {"version"});
  if (version == nullptr || !version->is_integer()) return 0;
  const size_t end = OffsetOf(text, version->source().end);
  const size_t newline = text.find('\n', end);
  return newline == std::string_view::npos ? text.size() : newline + 1;
}

// The offset after the line of the table's [header]; nullopt where it has none of its own.
std::optional<size_t> EndOfHeader(std::string_view text, const TomlPath& path) {
  for (size_t start = 0; start < text.size();) {
    const size_t newline = std::min(text.find('\n', start), text.size() - 1);
    const std::string_view line = text.substr(start, newline + 1 - start);
    start = newline + 1;
    const size_t bracket = line.find_first_not_of(" \t");
    if (bracket == std::string_view::npos || line[bracket] != '[') continue;
    if (line.substr(bracket).starts_with("[[")) continue;
    const auto header = Parse(line);
    if (!header.ok()) continue;
    const toml::node* node = &*header;
    size_t depth = 0;
    while (depth < path.size() && node->as_table()->size() == 1) {
      node = node->as_table()->get(path[depth]);
      if (node == nullptr) break;
      ++depth;
    }
    if (node != nullptr && depth == path.size() && node->as_table()->empty()) return start;
  }
  return std::nullopt;
}

// The table without the value at `path`, and without tables that this empties.
void Erase(toml::table& table, const TomlPath& path, size_t depth = 0) {
  toml::node* node = table.get(path[depth]);
  if (node == nullptr) return;
  if (depth + 1 < path.size()) {
    if (node->as_table() == nullptr) return;
    Erase(*node->as_table(), path, depth + 1);
    if (!node->as_table()->empty()) return;
  }
  table.erase(path[depth]);
}

bool SameBut(const TomlPath& path, toml::table before, toml::table after) {
  Erase(before, path);
  Erase(after, path);
  return before == after;
}

struct Span {
  size_t begin;
  size_t end;
};

Span SpanOf(std::string_view text, const toml::node& node) {
  return {OffsetOf(text, node.source().begin), OffsetOf(text, node.source().end)};
}

bool IsBareKey(std::string_view key) {
  static constexpr char kBare[] =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-";
  return !key.empty() && key.find_first_not_of(kBare) == std::string_view::npos;
}

// The text with `line` (key = value) as a new key of the table at `table_path`.
std::string InsertKey(std::string_view toml, const toml::table& root, const TomlPath& table_path,
                      const std::string& line) {
  std::string text(toml);
  const toml::node* node = Find(root, table_path);
  const toml::table* table = node == nullptr ? nullptr : node->as_table();
  if (table != nullptr && !table_path.empty() && table->is_inline()) {
    const size_t brace = text.find('{', OffsetOf(toml, table->source().begin));
    if (brace == std::string::npos) return text;
    return text.insert(brace + 1, " " + line + (table->empty() ? " " : ","));
  }
  const auto header = EndOfHeader(toml, table_path);
  size_t place = text.size();
  if (table_path.empty()) place = PlaceForKey(toml, root);
  if (header) place = *header;
  const bool open_line = place > 0 && text[place - 1] != '\n';
  std::string added = open_line ? "\n" : "";
  if (!header && !table_path.empty()) {
    added += (text.empty() ? "[" : "\n[") + TomlPathText(table_path) + "]\n";
  }
  return text.insert(place, added + (table_path.empty() ? "" : "  ") + line + "\n");
}

}  // namespace

Result<std::optional<std::string>> TomlText(std::string_view toml, const TomlPath& path) {
  const toml::table root = TRY(Parse(toml));
  const toml::node* node = Find(root, path);
  if (node == nullptr || node->as_string() == nullptr) return std::optional<std::string>();
  return std::optional<std::string>(node->as_string()->get());
}

Result<std::optional<int64_t>> TomlInteger(std::string_view toml, const TomlPath& path) {
  const toml::table root = TRY(Parse(toml));
  const toml::node* node = Find(root, path);
  if (node == nullptr || node->as_integer() == nullptr) return std::optional<int64_t>();
  return std::optional<int64_t>(node->as_integer()->get());
}

Result<bool> TomlHas(std::string_view toml, const TomlPath& path) {
  const toml::table root = TRY(Parse(toml));
  const toml::node* node = Find(root, path);
  if (node == nullptr) return false;
  return node->as_table() == nullptr || !node->as_table()->empty();
}

Result<std::vector<std::string>> TomlKeys(std::string_view toml, const TomlPath& path) {
  const toml::table root = TRY(Parse(toml));
  const toml::node* node = Find(root, path);
  std::vector<std::string> out;
  if (node == nullptr || node->as_table() == nullptr) return out;
  for (auto&& [key, value] : *node->as_table()) out.emplace_back(key.str());
  return out;
}

Result<std::vector<std::string>> TomlList(std::string_view toml, const std::string& key) {
  const toml::table root = TRY(Parse(toml));
  const toml::array* list = TRY(FindList(root, key));
  std::vector<std::string> out;
  for (size_t i = 0; list != nullptr && i < list->size(); ++i) {
    if (const auto* text = list->get(i)->as_string(); text != nullptr) out.push_back(text->get());
  }
  return out;
}

Result<std::string> AddToTomlList(std::string_view toml, const std::string& key,
                                  const std::string& value) {
  const toml::table root = TRY(Parse(toml));
  const toml::array* list = TRY(FindList(root, key));
  std::string text(toml);
  if (list == nullptr) {
    const size_t place = PlaceForKey(toml, root);
    const bool open_line = place > 0 && text[place - 1] != '\n';
    return text.insert(place, (open_line ? "\n" : "") + key + " = [" + TomlQuote(value) + "]\n");
  }
  if (IndexIn(*list, value) < list->size()) return text;
  if (list->empty()) {
    const size_t bracket = text.find('[', OffsetOf(toml, list->source().begin));
    return text.insert(bracket + 1, TomlQuote(value));
  }
  const size_t end = OffsetOf(toml, list->get(list->size() - 1)->source().end);
  return text.insert(end, ", " + TomlQuote(value));
}

Result<std::string> RemoveFromTomlList(std::string_view toml, const std::string& key,
                                       const std::string& value) {
  const toml::table root = TRY(Parse(toml));
  const toml::array* list = TRY(FindList(root, key));
  std::string text(toml);
  if (list == nullptr) return text;
  const size_t index = IndexIn(*list, value);
  if (index == list->size()) return text;
  // From the end of the element before it; of the first, to the start of the one after it.
  size_t begin = OffsetOf(toml, list->get(index)->source().begin);
  size_t end = OffsetOf(toml, list->get(index)->source().end);
  if (index > 0) {
    begin = OffsetOf(toml, list->get(index - 1)->source().end);
  } else if (list->size() > 1) {
    end = OffsetOf(toml, list->get(1)->source().begin);
  }
  return text.erase(begin, end - begin);
}

Result<std::vector<std::string>> TomlTexts(std::string_view toml, const TomlPath& path) {
  const toml::table root = TRY(Parse(toml));
  const toml::node* node = Find(root, path);
  std::vector<std::string> out;
  if (node == nullptr || node->as_array() == nullptr) return out;
  for (auto&& element : *node->as_array()) {
    if (element.as_string() != nullptr) out.push_back(element.as_string()->get());
  }
  return out;
}

Result<std::vector<std::string>> TomlTableTexts(std::string_view toml, const TomlPath& path,
                                                const std::string& key) {
  const toml::table root = TRY(Parse(toml));
  const toml::node* node = Find(root, path);
  std::vector<std::string> texts;
  if (node == nullptr || node->as_array() == nullptr) return texts;
  for (auto&& element : *node->as_array()) {
    const toml::table* table = element.as_table();
    const toml::node* value = table == nullptr ? nullptr : table->get(key);
    const bool is_text = value != nullptr && value->as_string() != nullptr;
    texts.push_back(is_text ? value->as_string()->get() : "");
  }
  return texts;
}

Result<std::optional<std::string>> TomlValueText(std::string_view toml, const TomlPath& path) {
  const toml::table root = TRY(Parse(toml));
  const toml::node* node = Find(root, path);
  if (node == nullptr) return std::optional<std::string>();
  const Span span = SpanOf(toml, *node);
  return std::optional<std::string>(toml.substr(span.begin, span.end - span.begin));
}

bool SameTomlValue(const std::string& a, const std::string& b) {
  const auto left = Parse("x = " + a + "\n");
  const auto right = Parse("x = " + b + "\n");
  return left.ok() && right.ok() && *left == *right;
}

Result<std::string> SetTomlValue(std::string_view toml, const TomlPath& path,
                                 const std::string& value) {
  const toml::table root = TRY(Parse(toml));
  const toml::table wanted = TRY(Parse("x = " + value + "\n"));
  std::string text(toml);
  if (const toml::node* node = Find(root, path)) {
    const Span span = SpanOf(toml, *node);
    text.replace(span.begin, span.end - span.begin, value);
  } else {
    const TomlPath table(path.begin(), path.end() - 1);
    text = InsertKey(toml, root, table, TomlPathText({path.back()}) + " = " + value);
  }
  const auto after = Parse(text);
  const toml::node* now = after.ok() ? Find(*after, path) : nullptr;
  toml::table holder;
  if (now != nullptr) now->visit([&holder](const auto& found) { holder.insert("x", found); });
  if (!(holder == wanted) || !SameBut(path, root, *after)) {
    return FailedPrecondition(TomlPathText(path) + " = " + value +
                              " cannot be written without changing other settings (write it by "
                              "hand, then try again)");
  }
  return text;
}

Result<std::string> RemoveTomlValue(std::string_view toml, const TomlPath& path) {
  const toml::table root = TRY(Parse(toml));
  const toml::node* node = Find(root, path);
  std::string text(toml);
  if (node == nullptr) return text;
  const Span span = SpanOf(toml, *node);
  const size_t newline_before = span.begin == 0 ? std::string::npos : text.rfind('\n', span.begin);
  const size_t begin = newline_before == std::string::npos ? 0 : newline_before + 1;
  const size_t end = std::min(text.find('\n', span.end), text.size() - 1) + 1;
  text.erase(begin, end - begin);
  const auto after = Parse(text);
  if (!after.ok() || Find(*after, path) != nullptr || !SameBut(path, root, *after)) {
    return FailedPrecondition(TomlPathText(path) +
                              " shares its line with other settings (take it out by hand)");
  }
  return text;
}

std::string TomlPathText(const TomlPath& path) {
  std::string text;
  for (const std::string& key : path) {
    text += (text.empty() ? "" : ".") + (IsBareKey(key) ? key : TomlQuote(key));
  }
  return text;
}

std::string TomlQuote(std::string_view text) {
  std::string quoted = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') quoted += '\\';
    if (static_cast<unsigned char>(c) >= 0x20 && c != 0x7f) {
      quoted += c;
      continue;
    }
    char escape[8];
    std::snprintf(escape, sizeof(escape), "\\u%04X", static_cast<unsigned>(c));
    quoted += escape;
  }
  return quoted + "\"";
}

}  // namespace hearth::plugin
