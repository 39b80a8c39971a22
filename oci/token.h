// Token: what a token server answers, of either form that the specification knows.
#pragma once

#include <chrono>
#include <string>
#include <string_view>

#include "base/status.h"

namespace hearth::oci {

struct Token {
  static constexpr size_t kMaxBytes = 64 * 1024;
  static constexpr std::chrono::seconds kDefaultLifetime{60};  // distribution's specification
  static constexpr std::chrono::seconds kMaxLifetime{24 * 3600};

  std::string text;  // fit for a header
  std::chrono::seconds lifetime{kDefaultLifetime};

  // kUnavailable: no JSON object, or no token in it that can be used.
  static Result<Token> Parse(std::string_view body);
};

}  // namespace hearth::oci
