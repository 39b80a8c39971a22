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

}  // namespace

struct JsonBody::State {
  json object;
  std::set<std::string> read;
  Status bad;

  const json* Find(const char* name) {
    read.insert(name);
    const auto found = object.find(name);
    return found == object.end() || found->is_null() ? nullptr : &*found;
  }
};

JsonBody::JsonBody(std::unique_ptr<State> state) : state_(std::move(state)) {}
JsonBody::~JsonBody() = default;
JsonBody::JsonBody(JsonBody&&) noexcept = default;

Result<JsonBody> JsonBody::Parse(std::string_view text) {
  auto state = std::make_unique<State>();
  state->object = json::object();
  if (text.empty()) return JsonBody(std::move(state));
  Status wrong;
  std::vector<std::set<std::string>> names;
  const json::parser_callback_t look = [&](int depth, json::parse_event_t event, json& parsed) {
    if (!wrong.ok()) return false;
    if (event == json::parse_event_t::object_start) names.emplace_back();
    if (event == json::parse_event_t::object_end) names.pop_back();
    if (depth > kMaxDepth) {
      wrong = InvalidArgument("the JSON is nested too deep (at most 16)");
    } else if (event == json::parse_event_t::key &&
               !names.back().insert(parsed.get<std::string>()).second) {
      wrong = InvalidArgument("the field " + Shown(parsed.get<std::string>()) + " is there twice");
    }
    return wrong.ok();
  };
  try {
    json parsed = json::parse(text, look);
    if (!wrong.ok()) return wrong;
    if (!parsed.is_object()) return InvalidArgument("the body must be one JSON object");
    state->object = std::move(parsed);
  } catch (const json::parse_error& error) {
    if (!wrong.ok()) return wrong;
    return InvalidArgument("the body is not JSON: " + LineAndColumn(text, error.byte));
  } catch (const json::exception&) {
    return wrong.ok() ? InvalidArgument("the body is not JSON that can be read") : wrong;
  }
  return JsonBody(std::move(state));
}

void JsonBody::Reject(const char* name, const std::string& why) {
  if (state_->bad.ok()) state_->bad = InvalidArgument(std::string(name) + ": " + why);
}

void JsonBody::Text(const char* name, std::string& out) {
  const json* value = state_->Find(name);
  if (value == nullptr) return;
  if (!value->is_string()) return Reject(name, "must be a text");
  if (!value->get_ref<const std::string&>().empty()) out = value->get<std::string>();
}

void JsonBody::Texts(const char* name, std::vector<std::string>& out) {
  const json* value = state_->Find(name);
  if (value == nullptr) return;
  if (!value->is_array()) return Reject(name, "must be a list of texts");
  std::vector<std::string> texts;
  for (const json& entry : *value) {
    if (!entry.is_string()) return Reject(name, "must be a list of texts");
    texts.push_back(entry.get<std::string>());
  }
  if (!texts.empty()) out = std::move(texts);
}

void JsonBody::Integer(const char* name, std::optional<uint64_t>& out) {
  const json* value = state_->Find(name);
  if (value == nullptr) return;
  if (!value->is_number_unsigned()) return Reject(name, "must be a whole number, 0 or more");
  out = value->get<uint64_t>();
}

Status JsonBody::Finish() const {
  if (!state_->bad.ok()) return state_->bad;
  for (const auto& [name, value] : state_->object.items()) {
    if (state_->read.contains(name)) continue;
    const std::string near = NearestName(name, {state_->read.begin(), state_->read.end()});
    return InvalidArgument("unknown field " + Shown(name) +
                           (near.empty() ? "" : " (did you mean \"" + near + "\"?)"));
  }
  return OkStatus();
}

}  // namespace hearth::manager
