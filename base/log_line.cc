#include "base/log_line.h"

#include <algorithm>
#include <cstdint>
#include <cstdio>

namespace hearth {

namespace {

// One character of UTF-8, or one byte that is none.
struct Character {
  std::string_view bytes;
  uint32_t code = 0;
  bool valid = false;
};

// As RFC 3629: no overlong forms, no surrogates, nothing above U+10FFFF.
Character FirstOf(std::string_view text) {
  const auto byte = [text](size_t i) { return static_cast<unsigned char>(text[i]); };
  const Character broken{text.substr(0, 1), byte(0), false};
  if (byte(0) < 0x80) return {text.substr(0, 1), byte(0), true};
  const size_t size = byte(0) < 0xc2   ? 0
                      : byte(0) < 0xe0 ? 2
                      : byte(0) < 0xf0 ? 3
                      : byte(0) < 0xf5 ? 4
                                       : 0;
  if (size == 0 || text.size() < size) return broken;
  uint32_t code = byte(0) & (0x7fU >> size);
  for (size_t i = 1; i < size; ++i) {
    if ((byte(i) & 0xc0) != 0x80) return broken;
    code = code << 6 | (byte(i) & 0x3fU);
  }
  constexpr uint32_t kSmallest[] = {0, 0, 0x80, 0x800, 0x10000};
  const bool surrogate = code >= 0xd800 && code < 0xe000;
  if (code < kSmallest[size] || surrogate || code > 0x10ffff) return broken;
  return {text.substr(0, size), code, true};
}

// Moves the cursor, ends the line or turns its direction.
bool IsControl(uint32_t code) {
  return code < 0x20 || (code >= 0x7f && code < 0xa0) || code == 0x61c ||
         (code >= 0x200e && code <= 0x200f) || (code >= 0x2028 && code <= 0x202e) ||
         (code >= 0x2066 && code <= 0x2069) || code == 0xfeff;
}

std::string Hex(const char* form, uint32_t code) {
  char out[16];
  std::snprintf(out, sizeof(out), form, code);
  return out;
}

std::string CutNote(std::string_view text) {
  if (text.size() <= kMaxLogTextBytes) return "";
  return "... (" + std::to_string(text.size()) + " bytes)";
}

void AppendText(std::string& out, std::string_view text, bool quoted) {
  for (std::string_view rest = CutText(text, kMaxLogTextBytes); !rest.empty();) {
    const Character one = FirstOf(rest);
    rest.remove_prefix(one.bytes.size());
    if (!one.valid) {
      out += Hex("\\x%02x", one.code);
    } else if (one.code == '\n') {
      out += "\\n";
    } else if (one.code == '\t') {
      out += "\\t";
    } else if (one.code == '\r') {
      out += "\\r";
    } else if (IsControl(one.code)) {
      out += Hex("\\u%04x", one.code);
    } else {
      if (one.code == '\\' || (quoted && one.code == '"')) out += '\\';
      out += one.bytes;
    }
  }
  out += CutNote(text);
}

void AppendJson(std::string& out, std::string_view text) {
  out += '"';
  for (std::string_view rest = CutText(text, kMaxLogTextBytes); !rest.empty();) {
    const Character one = FirstOf(rest);
    rest.remove_prefix(one.bytes.size());
    if (!one.valid) {
      out += Hex("\\\\x%02x", one.code);  // JSON has no escape for a byte
    } else if (IsControl(one.code)) {
      out += Hex("\\u%04x", one.code);
    } else {
      if (one.code == '"' || one.code == '\\') out += '\\';
      out += one.bytes;
    }
  }
  out += CutNote(text) + '"';
}

bool NeedsQuotes(std::string_view text) {
  return text.empty() || text.find_first_of(" \"=") != std::string_view::npos;
}

}  // namespace

std::string_view CutText(std::string_view text, size_t max_bytes) {
  if (text.size() <= max_bytes) return text;
  for (size_t back = 1; back <= std::min<size_t>(3, max_bytes); ++back) {
    const Character last = FirstOf(text.substr(max_bytes - back));
    if (last.valid && last.bytes.size() > back) return text.substr(0, max_bytes - back);
  }
  return text.substr(0, max_bytes);
}

std::string Printable(std::string_view text) {
  std::string out;
  AppendText(out, text, /*quoted=*/false);
  return out;
}

std::string LogTextLine(std::string_view message, LogFields fields) {
  std::string line = Printable(message);
  for (const auto& [key, value] : fields) {
    line += ' ';
    line += Printable(key);
    line += '=';
    const bool quotes = value.quoted() && NeedsQuotes(value.text());
    if (quotes) line += '"';
    AppendText(line, value.text(), quotes);
    if (quotes) line += '"';
  }
  return line;
}

std::string LogJsonMembers(std::string_view message, LogFields fields) {
  std::string line = "\"message\":";
  AppendJson(line, message);
  for (const auto& [key, value] : fields) {
    line += ',';
    AppendJson(line, key);
    line += ':';
    if (value.quoted()) {
      AppendJson(line, value.text());
    } else {
      line += value.text();
    }
  }
  return line;
}

}  // namespace hearth
