// Any bytes as a WWW-Authenticate or Retry-After header: bounded, scheme and names in lower case.
#include <algorithm>
#include <cstdint>
#include <string_view>

#include "base/clock.h"
#include "oci/challenge.h"
#include "oci/registry_call.h"

namespace {

bool IsLower(const std::string& text) {
  return std::none_of(text.begin(), text.end(), [](char c) { return c >= 'A' && c <= 'Z'; });
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto challenges = hearth::oci::ParseChallenges({text, text});
  CHECK(challenges.size() <= 16);
  for (const auto& challenge : challenges) {
    CHECK(!challenge.scheme.empty() && IsLower(challenge.scheme));
    for (const auto& [name, value] : challenge.parameters) CHECK(IsLower(name));
  }
  const auto wait = hearth::oci::ParseRetryAfter(text, hearth::RealClock().WallNow());
  if (wait) CHECK(wait->count() >= 0);
  return 0;
}
