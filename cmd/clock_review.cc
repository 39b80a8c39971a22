#include "cmd/clock_review.h"

#include <ctime>

#include "base/units.h"

namespace hearth::cmd {

namespace {

constexpr std::chrono::seconds kTolerated{30};  // a Date has whole seconds, and tokens some leeway
constexpr std::chrono::seconds kBreaks{300};

}  // namespace

std::optional<WallTime> ParseHttpDate(std::string_view text) {
  const std::string copy(text);
  std::tm parts{};
  const char* end = ::strptime(copy.c_str(), "%a, %d %b %Y %H:%M:%S GMT", &parts);
  if (end == nullptr || *end != '\0') return std::nullopt;
  const std::time_t seconds = ::timegm(&parts);
  return WallTime(std::chrono::seconds(seconds));
}

void ReviewSkew(const std::string& registry, WallTime date, WallTime asked, WallTime answered,
                Findings& findings) {
  const std::string check = "clock against " + registry;
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
