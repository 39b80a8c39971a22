#include "cmd/finding.h"

#include <algorithm>
#include <nlohmann/json.hpp>

namespace hearth::cmd {

namespace {

const char* Name(Finding::State state) {
  switch (state) {
    case Finding::State::kOk:
      return "ok";
    case Finding::State::kWarn:
      return "warn";
    case Finding::State::kFail:
      return "fail";
  }
  return "";
}

}  // namespace

bool AnyFailed(const std::vector<Finding>& findings) {
  return std::any_of(findings.begin(), findings.end(),
                     [](const Finding& finding) { return finding.state == Finding::State::kFail; });
}

std::string FindingsText(const std::vector<Finding>& findings) {
  std::string text;
  for (const Finding& finding : findings) {
    std::string state = Name(finding.state);
    state.resize(4, ' ');
    text += state + "  " + finding.check + ": " + finding.detail + "\n";
    if (!finding.advice.empty()) text += "      → " + finding.advice + "\n";
  }
  return text;
}

std::string FindingsJson(const std::vector<Finding>& findings) {
  nlohmann::json list = nlohmann::json::array();
  for (const Finding& finding : findings) {
    list.push_back({{"check", finding.check},
                    {"state", Name(finding.state)},
                    {"detail", finding.detail},
                    {"advice", finding.advice}});
  }
  return nlohmann::json{{"ok", !AnyFailed(findings)}, {"findings", list}}.dump(
      2, ' ', false, nlohmann::json::error_handler_t::replace);
}

}  // namespace hearth::cmd
