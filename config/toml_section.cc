#include "config/toml_section.h"

#include <algorithm>
#include <cmath>
#include <set>
#include <sstream>
#include <utility>

#include "base/nearest_name.h"
#include "base/units.h"

#define TOML_EXCEPTIONS 1
#include <toml++/toml.h>

namespace hearth::config {

namespace {

// A dotted-key part as TOML writes it.
std::string QuoteKey(std::string_view key) {
  const bool bare = !key.empty() && std::all_of(key.begin(), key.end(), [](unsigned char c) {
    return std::isalnum(c) != 0 || c == '_' || c == '-';
  });
  return bare ? std::string(key) : "\"" + std::string(key) + "\"";
}

std::string QuoteText(std::string_view text) {
  std::ostringstream out;
  out << toml::value<std::string>(std::string(text));
  std::string quoted = out.str();
  return quoted;
}

// Where a node stands: "node.toml:12" or "--set".
std::string Place(const std::string& name, const toml::source_region& source) {
  if (source.path && *source.path == "--set") return "--set";
  if (source.begin.line == 0) return name;
  return name + ":" + std::to_string(source.begin.line);
}

// Splits at the first '=' that stands outside of quotes.
Result<std::pair<std::string, std::string>> SplitSet(const std::string& set) {
  char quote = 0;
  for (size_t i = 0; i < set.size(); ++i) {
    const char c = set[i];
    if (quote != 0) {
      if (c == quote) quote = 0;
    } else if (c == '"' || c == '\'') {
      quote = c;
    } else if (c == '=' && i > 0) {
      return std::pair(set.substr(0, i), set.substr(i + 1));
    }
  }
  return InvalidArgument("--set " + set +
                         ": no value (write KEY=VALUE, as in --set mirror.listen=127.0.0.1:0)");
}

Result<toml::table> ParseSet(const std::string& set) {
  const auto [key, value] = TRY(SplitSet(set));
  if (value.find_first_of("\r\n") == std::string::npos) {
    try {
      return toml::parse(key + " = " + value, std::string("--set"));
    } catch (const toml::parse_error&) {
      // Not TOML: a text without quotes.
    }
  }
  try {
    return toml::parse(key + " = " + QuoteText(value), std::string("--set"));
  } catch (const toml::parse_error& error) {
    return InvalidArgument("--set " + set + ": bad key: " + std::string(error.description()) +
                           " (dotted TOML key, parts with dots or colons in quotes)");
  }
}

// Moving, not copying, keeps where a node came from.
void Overlay(toml::table& base, toml::table&& over) {
  for (auto&& [key, node] : over) {
    toml::table* inner = node.as_table();
    toml::table* below = base[key.str()].as_table();
    if (inner != nullptr && below != nullptr) {
      Overlay(*below, std::move(*inner));
      continue;
    }
    node.visit(
        [&base, &key = key](auto& typed) { base.insert_or_assign(key.str(), std::move(typed)); });
  }
}

std::string_view TypeName(toml::node_type type) {
  switch (type) {
    case toml::node_type::table:
      return "a table";
    case toml::node_type::array:
      return "a list";
    case toml::node_type::string:
      return "a text";
    case toml::node_type::integer:
      return "a whole number";
    case toml::node_type::floating_point:
      return "a number";
    case toml::node_type::boolean:
      return "true or false";
    default:
      return "a date or time";
  }
}

}  // namespace

struct TomlSection::State {
  std::string name;
  toml::table root;
  Status error;
  // Key names read per table path, also of tables that are absent in the document.
  std::map<std::string, std::set<std::string, std::less<>>> read;
  // Tables whose keys are all taken at once ([labels], the names in [registry]).
  std::set<std::string> open;

  const toml::node* Find(const void* table, const std::string& path, std::string_view key) {
    read[path].emplace(key);
    if (table == nullptr) return nullptr;
    return static_cast<const toml::table*>(table)->get(key);
  }
  void Fail(const toml::node* node, const std::string& path, const std::string& why) {
    if (!error.ok()) return;
    const std::string place = node != nullptr ? Place(name, node->source()) : name;
    error = InvalidArgument(place + ": " + path + ": " + why);
  }
  void FailType(const toml::node& node, const std::string& path, std::string_view wanted) {
    Fail(&node, path,
         "must be " + std::string(wanted) + ", not " + std::string(TypeName(node.type())));
  }
  Status UnknownKeyIn(const toml::table& table, const std::string& path) const;
};

Status TomlSection::State::UnknownKeyIn(const toml::table& table, const std::string& path) const {
  if (open.contains(path)) return OkStatus();
  const auto known = read.find(path);
  for (auto&& [key, node] : table) {
    const std::string inner = path.empty() ? QuoteKey(key.str()) : path + "." + QuoteKey(key.str());
    if (known == read.end() || !known->second.contains(key.str())) {
      std::vector<std::string> names;
      if (known != read.end()) names.assign(known->second.begin(), known->second.end());
      const std::string near = NearestName(key.str(), names);
      std::string all;
      for (const std::string& one : names) all += (all.empty() ? "" : ", ") + one;
      return InvalidArgument(
          Place(name, node.source()) + ": " + inner + ": unknown key (" +
          (near.empty() ? "known here: " + all : "did you mean \"" + near + "\"?") + ")");
    }
    if (const toml::table* below = node.as_table(); below != nullptr) {
      TRY_STATUS(UnknownKeyIn(*below, inner));
    }
    if (const toml::array* list = node.as_array(); list != nullptr) {
      for (size_t i = 0; i < list->size(); ++i) {
        const toml::table* item = list->get(i)->as_table();
        if (item != nullptr) {
          TRY_STATUS(UnknownKeyIn(*item, inner + "[" + std::to_string(i) + "]"));
        }
      }
    }
  }
  return OkStatus();
}

TomlSection::TomlSection(std::shared_ptr<State> state, const void* table, std::string path)
    : state_(std::move(state)), table_(table), path_(std::move(path)) {}

std::string TomlSection::PathOf(std::string_view key) const {
  return path_.empty() ? QuoteKey(key) : path_ + "." + QuoteKey(key);
}

void TomlSection::Text(std::string_view key, std::string& out) {
  const toml::node* node = state_->Find(table_, path_, key);
  if (node == nullptr) return;
  if (const auto* text = node->as_string(); text != nullptr) {
    out = text->get();
  } else {
    state_->FailType(*node, PathOf(key), "a text in quotes");
  }
}

void TomlSection::Bool(std::string_view key, bool& out) {
  const toml::node* node = state_->Find(table_, path_, key);
  if (node == nullptr) return;
  if (const auto* value = node->as_boolean(); value != nullptr) {
    out = value->get();
  } else {
    state_->FailType(*node, PathOf(key), "true or false");
  }
}

void TomlSection::Integer(std::string_view key, uint64_t& out, uint64_t min, uint64_t max) {
  const toml::node* node = state_->Find(table_, path_, key);
  if (node == nullptr) return;
  const auto* value = node->as_integer();
  if (value == nullptr) return state_->FailType(*node, PathOf(key), "a whole number");
  if (value->get() < static_cast<int64_t>(min) || value->get() > static_cast<int64_t>(max)) {
    return state_->Fail(node, PathOf(key),
                        "must be from " + std::to_string(min) + " to " + std::to_string(max) +
                            ", not " + std::to_string(value->get()));
  }
  out = static_cast<uint64_t>(value->get());
}

void TomlSection::Scalar(std::string_view key,
                         const std::function<Status(const std::string&)>& take) {
  const toml::node* node = state_->Find(table_, path_, key);
  if (node == nullptr) return;
  std::string text;
  if (const auto* string = node->as_string(); string != nullptr) {
    text = string->get();
  } else if (const auto* number = node->as_integer(); number != nullptr) {
    text = std::to_string(number->get());
  } else {
    return state_->FailType(*node, PathOf(key), "a text in quotes or a whole number");
  }
  const Status status = take(text);
  if (!status.ok()) state_->Fail(node, PathOf(key), "\"" + text + "\": " + status.message());
}

void TomlSection::Bytes(std::string_view key, uint64_t& out) {
  Scalar(key, [&out](const std::string& text) -> Status {
    out = TRY(ParseByteSize(text));
    return OkStatus();
  });
}

void TomlSection::Duration(std::string_view key, std::chrono::nanoseconds& out) {
  Scalar(key, [&out](const std::string& text) -> Status {
    out = TRY(ParseDuration(text));
    return OkStatus();
  });
}

void TomlSection::CheckedText(std::string_view key, std::string& out,
                              const std::function<Status(const std::string&)>& check) {
  Text(key, out);
  const toml::node* node = state_->Find(table_, path_, key);
  if (node == nullptr || !node->is_string()) return;
  const Status status = check(out);
  if (!status.ok()) state_->Fail(node, PathOf(key), "\"" + out + "\": " + status.message());
}

void TomlSection::Texts(std::string_view key, std::vector<std::string>& out) {
  const toml::node* node = state_->Find(table_, path_, key);
  if (node == nullptr) return;
  const toml::array* list = node->as_array();
  if (list == nullptr) return state_->FailType(*node, PathOf(key), "a list of texts");
  out.clear();
  for (const toml::node& item : *list) {
    const auto* text = item.as_string();
    if (text == nullptr) return state_->FailType(item, PathOf(key), "a list of texts");
    out.push_back(text->get());
  }
}

void TomlSection::TextMap(std::string_view key, std::map<std::string, std::string>& out) {
  const toml::node* node = state_->Find(table_, path_, key);
  if (node == nullptr) return;
  const toml::table* table = node->as_table();
  if (table == nullptr) return state_->FailType(*node, PathOf(key), "a table of texts");
  state_->open.insert(PathOf(key));
  out.clear();
  for (auto&& [name, item] : *table) {
    const auto* text = item.as_string();
    if (text == nullptr) return state_->FailType(item, PathOf(key), "a table of texts");
    out[std::string(name.str())] = text->get();
  }
}

TomlSection TomlSection::Table(std::string_view key) {
  const toml::node* node = state_->Find(table_, path_, key);
  const toml::table* table = node == nullptr ? nullptr : node->as_table();
  if (node != nullptr && table == nullptr) state_->FailType(*node, PathOf(key), "a table");
  return {state_, table, PathOf(key)};
}

std::vector<TomlSection> TomlSection::Tables(std::string_view key) {
  std::vector<TomlSection> out;
  const toml::node* node = state_->Find(table_, path_, key);
  if (node == nullptr) return out;
  const toml::array* list = node->as_array();
  if (list == nullptr) {
    state_->FailType(*node, PathOf(key), "tables in double brackets ([[" + PathOf(key) + "]])");
    return out;
  }
  for (size_t i = 0; i < list->size(); ++i) {
    const toml::table* item = list->get(i)->as_table();
    if (item == nullptr) state_->FailType(*list->get(i), PathOf(key), "a list of tables");
    out.emplace_back(state_, item, PathOf(key) + "[" + std::to_string(i) + "]");
  }
  return out;
}

std::vector<std::pair<std::string, TomlSection>> TomlSection::Named() {
  std::vector<std::pair<std::string, TomlSection>> out;
  if (table_ == nullptr) return out;
  for (auto&& [key, node] : *static_cast<const toml::table*>(table_)) {
    const std::string name(key.str());
    out.emplace_back(name, Table(name));
  }
  return out;
}

bool TomlSection::Has(std::string_view key) { return state_->Find(table_, path_, key) != nullptr; }

void TomlSection::Reject(std::string_view key, const std::string& why) {
  state_->Fail(state_->Find(table_, path_, key), PathOf(key), why);
}

Result<TomlDocument> TomlDocument::Parse(std::string_view text, const std::string& name,
                                         const std::vector<std::string>& sets) {
  auto state = std::make_shared<TomlSection::State>();
  state->name = name;
  try {
    state->root = toml::parse(text, name);
  } catch (const toml::parse_error& error) {
    return InvalidArgument(Place(name, error.source()) +
                           ": not TOML: " + std::string(error.description()));
  }
  for (const std::string& set : sets) Overlay(state->root, TRY(ParseSet(set)));
  return TomlDocument(std::move(state));
}

TomlSection TomlDocument::Root() const { return {state_, &state_->root, ""}; }

Status TomlDocument::Finish() const {
  if (!state_->error.ok()) return state_->error;
  return state_->UnknownKeyIn(state_->root, "");
}

}  // namespace hearth::config
