#include "manager/json_body.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>

#include "base/nearest_name.h"

namespace hearth::manager {

namespace {

using nlohmann::json;

constexpr size_t kMaxShownBytes = 64;

// A stranger's name in a message of ours.
std::string Shown(std::string_view name) {
  return "\"" + std::string(name.substr(0, kMaxShownBytes)) +
         (name.size() > kMaxShownBytes ? "…" : "") + "\"";
}

std::string LineAndColumn(std::string_view text, size_t at) {
  const std::string_view before = text.substr(0, std::min(at, text.size()));
  const auto line = 1 + std::ranges::count(before, '\n');
  const size_t start = before.rfind('\n');
  const size_t column = before.size() - (start == std::string_view::npos ? 0 : start + 1);
  return "line " + std::to_string(line) + ", column " + std::to_string(std::max<size_t>(column, 1));
}

// "piece_length" → "pieceLength"
std::string CamelCase(std::string_view name) {
  std::string camel;
  for (size_t i = 0; i < name.size(); ++i) {
    const bool word = name[i] == '_' && i + 1 < name.size();
    camel +=
        word ? static_cast<char>(std::toupper(static_cast<unsigned char>(name[++i]))) : name[i];
  }
  return camel;
}

// Follows a parser through a body: the field that it is in, and what is wrong though it is JSON.
class Reading {
 public:
  // json::parse's callback; false from the first wrong thing on, so that nothing more is kept.
  bool Look(int depth, json::parse_event_t event, const json& parsed) {
    if (!wrong_.ok()) return false;
    if (event == json::parse_event_t::object_start) open_.emplace_back();
    if (event == json::parse_event_t::object_end) open_.pop_back();
    if (event == json::parse_event_t::key) Enter(parsed.get<std::string>());
    if (wrong_.ok() && depth > JsonBody::kMaxDepth) {
      wrong_ = InvalidArgument("the JSON is nested too deep (at most 16)" + Where());
    }
    return wrong_.ok();
  }
  const Status& wrong() const { return wrong_; }
  // ", in the field "args.url"", "" before the first one.
  std::string Where() const {
    const std::string path = Path();
    return path.empty() ? "" : ", in the field " + Shown(path);
  }

 private:
  struct Object {
    std::set<std::string> names;
    std::string name;  // of the field that is read
  };

  void Enter(std::string name) {
    open_.back().name = std::move(name);
    if (!open_.back().names.insert(open_.back().name).second) {
      wrong_ = InvalidArgument("the field " + Shown(Path()) + " is there twice");
    }
  }
  std::string Path() const {
    std::string path;
    for (const Object& object : open_) {
      path += (path.empty() || object.name.empty() ? "" : ".") + object.name;
    }
    return path;
  }

  Status wrong_;
  std::vector<Object> open_;
};

// Whether every element was a text.
bool ReadTexts(const json& list, std::vector<std::string>& out) {
  std::vector<std::string> texts;
  for (const json& entry : list) {
    if (!entry.is_string()) return false;
    texts.push_back(entry.get<std::string>());
  }
  if (!texts.empty()) out = std::move(texts);
  return true;
}

}  // namespace

struct JsonBody::State {
  json object;
  std::string path;  // of the object within the body: "args."
  std::set<std::string> read;
  std::shared_ptr<Status> bad = std::make_shared<Status>();

  void Reject(const std::string& name, const std::string& why) const {
    if (bad->ok()) *bad = InvalidArgument(path + name + ": " + why);
  }
  const json* FindOne(const std::string& name) {
    read.insert(name);
    const auto found = object.find(name);
    return found == object.end() || found->is_null() ? nullptr : &*found;
  }
  const json* Find(const char* name) {
    const json* value = FindOne(name);
    const std::string camel = CamelCase(name);
    if (camel == name) return value;
    const json* other = FindOne(camel);
    if (value != nullptr && other != nullptr) Reject(name, "is there twice, also as " + camel);
    return value != nullptr ? value : other;
  }
};

JsonBody::JsonBody(std::unique_ptr<State> state) : state_(std::move(state)) {}
JsonBody::~JsonBody() = default;
JsonBody::JsonBody(JsonBody&&) noexcept = default;

Result<JsonBody> JsonBody::Parse(std::string_view text) {
  auto state = std::make_unique<State>();
  state->object = json::object();
  if (text.empty()) return JsonBody(std::move(state));
  Reading reading;
  const json::parser_callback_t look = [&](int depth, json::parse_event_t event, json& parsed) {
    return reading.Look(depth, event, parsed);
  };
  try {
    json parsed = json::parse(text, look);
    TRY_STATUS(reading.wrong());
    if (!parsed.is_object()) return InvalidArgument("the body must be one JSON object");
    state->object = std::move(parsed);
  } catch (const json::parse_error& error) {
    TRY_STATUS(reading.wrong());
    return InvalidArgument("the body is not JSON: " + LineAndColumn(text, error.byte) +
                           reading.Where());
  } catch (const json::exception&) {
    TRY_STATUS(reading.wrong());
    return InvalidArgument("the body is not JSON that can be read" + reading.Where());
  }
  return JsonBody(std::move(state));
}

void JsonBody::Reject(const char* name, const std::string& why) { state_->Reject(name, why); }

void JsonBody::Text(const char* name, std::string& out) {
  const json* value = state_->Find(name);
  if (value == nullptr) return;
  if (!value->is_string()) return Reject(name, "must be a text");
  if (!value->get_ref<const std::string&>().empty()) out = value->get<std::string>();
}

void JsonBody::Texts(const char* name, std::vector<std::string>& out) {
  const json* value = state_->Find(name);
  if (value == nullptr) return;
  if (!value->is_array() || !ReadTexts(*value, out)) Reject(name, "must be a list of texts");
}

void JsonBody::TextOrTexts(const char* name, std::vector<std::string>& out) {
  const json* value = state_->Find(name);
  if (value == nullptr) return;
  if (value->is_string()) {
    if (!value->get_ref<const std::string&>().empty()) out = {value->get<std::string>()};
    return;
  }
  if (!value->is_array() || !ReadTexts(*value, out)) {
    Reject(name, "must be a text or a list of texts");
  }
}

void JsonBody::TextMap(const char* name, std::map<std::string, std::string>& out) {
  const json* value = state_->Find(name);
  if (value == nullptr) return;
  if (!value->is_object()) return Reject(name, "must be an object of texts");
  std::map<std::string, std::string> texts;
  for (const auto& [key, text] : value->items()) {
    if (!text.is_string()) return Reject(name, Shown(key) + " must be a text");
    texts[key] = text.get<std::string>();
  }
  if (!texts.empty()) out = std::move(texts);
}

void JsonBody::Integer(const char* name, std::optional<uint64_t>& out) {
  const json* value = state_->Find(name);
  if (value == nullptr) return;
  if (!value->is_number_unsigned()) return Reject(name, "must be a whole number, 0 or more");
  out = value->get<uint64_t>();
}

void JsonBody::Integers(const char* name, std::vector<uint64_t>& out) {
  const json* value = state_->Find(name);
  if (value == nullptr) return;
  std::vector<uint64_t> numbers;
  const bool fits = value->is_array() && std::ranges::all_of(*value, [&](const json& entry) {
                      if (entry.is_number_unsigned()) numbers.push_back(entry.get<uint64_t>());
                      return entry.is_number_unsigned();
                    });
  if (!fits) return Reject(name, "must be a list of whole numbers");
  if (!numbers.empty()) out = std::move(numbers);
}

void JsonBody::Flag(const char* name, bool& out) {
  const json* value = state_->Find(name);
  if (value == nullptr) return;
  if (!value->is_boolean()) return Reject(name, "must be true or false");
  out = value->get<bool>();
}

void JsonBody::Scalar(const char* name, std::string& out) {
  const json* value = state_->Find(name);
  if (value == nullptr) return;
  if (value->is_number()) {
    out = value->dump();
  } else if (!value->is_string()) {
    Reject(name, "must be a text or a number");
  } else if (!value->get_ref<const std::string&>().empty()) {
    out = value->get<std::string>();
  }
}

std::optional<JsonBody> JsonBody::Object(const char* name) {
  const json* value = state_->Find(name);
  if (value == nullptr) return std::nullopt;
  if (!value->is_object()) {
    Reject(name, "must be an object");
    return std::nullopt;
  }
  auto state = std::make_unique<State>();
  state->object = *value;
  state->path = state_->path + name + ".";
  state->bad = state_->bad;
  return JsonBody(std::move(state));
}

bool JsonBody::Says(const char* name) {
  const json* value = state_->Find(name);
  if (value == nullptr) return false;
  const bool zero = value->is_number() && value->get<double>() == 0;
  const bool no = value->is_boolean() && !value->get<bool>();
  const bool blank = value->is_string() && value->get_ref<const std::string&>().empty();
  const bool none = value->is_structured() && value->empty();
  return !zero && !no && !blank && !none;
}

Status JsonBody::Finish() const {
  if (!state_->bad->ok()) return *state_->bad;
  for (const auto& [name, value] : state_->object.items()) {
    if (state_->read.contains(name)) continue;
    const std::string near = NearestName(name, {state_->read.begin(), state_->read.end()});
    return InvalidArgument("unknown field " + Shown(state_->path + name) +
                           (near.empty() ? "" : " (did you mean \"" + near + "\"?)"));
  }
  return OkStatus();
}

}  // namespace hearth::manager
