#include "cmd/finding.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/log_line.h"

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

bool Findings::AnyFailed() const {
  return std::any_of(list_.begin(), list_.end(),
                     [](const Finding& finding) { return finding.state == Finding::State::kFail; });
}

std::string Findings::Text() const {
  std::string text;
  for (const Finding& finding : list_) {
    std::string state = Name(finding.state);
    state.resize(4, ' ');
    text += state + "  " + finding.check + ": " + Printable(finding.detail) + "\n";
    if (!finding.why.empty()) text += "      " + Printable(finding.why) + "\n";
    if (!finding.advice.empty()) text += "      → " + Printable(finding.advice) + "\n";
  }
  return text;
}

std::string Findings::Json() const {
  nlohmann::json list = nlohmann::json::array();
  for (const Finding& finding : list_) {
    list.push_back({{"check", finding.check},
                    {"state", Name(finding.state)},
                    {"detail", Printable(finding.detail)},
                    {"why", Printable(finding.why)},
                    {"advice", Printable(finding.advice)}});
  }
  return nlohmann::json{{"ok", !AnyFailed()}, {"findings", list}}.dump(2);
}

}  // namespace hearth::cmd
