#include "cmd/clock_review.h"

#include <algorithm>
#include <chrono>

#include "base/units.h"

namespace hearth::cmd {

namespace {

constexpr std::chrono::seconds kTolerated{30};  // a Date has whole seconds, and tokens some leeway
constexpr std::chrono::seconds kBreaks{300};

}  // namespace

void ReviewSkew(const std::string& registry, int64_t date_seconds, WallTime asked,
                WallTime answered, Findings& findings) {
  const std::string check = "clock against " + registry;
  // HTTP can say years that nanoseconds do not reach.
  constexpr int64_t kFarSeconds = 3'000'000'000;
  const int64_t here = std::chrono::floor<std::chrono::seconds>(asked).time_since_epoch().count();
  const WallTime date{std::chrono::seconds(
      std::clamp<int64_t>(date_seconds, here - kFarSeconds, here + kFarSeconds))};
  // The Date was true at some moment between the two, and is cut to a second.
  std::chrono::nanoseconds ahead{0};
  const WallTime last = date + std::chrono::seconds(1);
  if (asked > last) ahead = asked - last;
  if (answered < date) ahead = answered - date;
  const bool behind = ahead.count() < 0;
  const std::chrono::nanoseconds off = behind ? -ahead : ahead;
  const std::string found = off.count() == 0
                                ? std::string("the same to the second")
                                : FormatDuration(std::chrono::floor<std::chrono::seconds>(off)) +
                                      (behind ? " behind it" : " ahead of it");
  const std::string advice = "run a time service (systemd-timesyncd, chrony), here or there";
  if (off > kBreaks) {
    return findings.Fail(check, found,
                         "signed URLs, tokens and certificates are refused as expired or not yet "
                         "valid",
                         advice);
  }
  if (off > kTolerated) {
    return findings.Warn(check, found, "signed URLs and tokens may end early", advice);
  }
  findings.Ok(check, found);
}

}  // namespace hearth::cmd
