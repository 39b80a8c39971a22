// Finding: one line of `hearth doctor`, and how all of them are printed.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace hearth::cmd {

struct Finding {
  enum class State : uint8_t { kOk, kWarn, kFail };

  State state = State::kOk;
  std::string check;   // "containerd version": stable, scripts look for it
  std::string detail;  // what was found, or what is wrong and why
  std::string advice;  // what to do; "" where nothing is wrong
};

bool AnyFailed(const std::vector<Finding>& findings);
// A line each, the advice below it.
std::string FindingsText(const std::vector<Finding>& findings);
// {"ok":bool,"findings":[{"check","state","detail","advice"}]}
std::string FindingsJson(const std::vector<Finding>& findings);

}  // namespace hearth::cmd
