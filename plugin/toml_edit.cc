#include "plugin/toml_edit.h"

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
