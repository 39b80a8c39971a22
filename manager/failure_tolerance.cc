#include "manager/failure_tolerance.h"

#include <algorithm>

#include "base/units.h"

namespace hearth::manager {

namespace {

constexpr size_t kPlaces = 9;

// Digits with at most `places` of them behind a point, in units of the last place.
std::optional<uint64_t> ParseFixed(std::string_view text, size_t places) {
  const size_t point = std::min(text.find('.'), text.size());
  std::string digits(text.substr(0, point));
  if (digits.empty() || digits.size() > 3) return std::nullopt;
  if (point < text.size()) {
    const std::string_view decimals = text.substr(point + 1);
    if (decimals.empty() || decimals.size() > places) return std::nullopt;
    digits += decimals;
    places -= decimals.size();
  }
  digits.append(places, '0');
  return ParseDecimal(digits);
}

}  // namespace

Result<FailureTolerance> FailureTolerance::Parse(std::string_view text) {
  const bool percent = text.ends_with('%');
  const std::string_view number = percent ? text.substr(0, text.size() - 1) : text;
  const auto billionths = ParseFixed(number, percent ? kPlaces - 2 : kPlaces);
  if (!billionths || *billionths > kOne) {
    return InvalidArgument("must be a share from \"0\" to \"1\", as \"0.1\" or \"10%\"");
  }
  return FailureTolerance(*billionths);
}

std::string FailureTolerance::ToString() const {
  std::string decimals = std::to_string(billionths_ % kOne);
  decimals.insert(0, kPlaces - decimals.size(), '0');
  decimals.erase(decimals.find_last_not_of('0') + 1);
  return std::to_string(billionths_ / kOne) + (decimals.empty() ? "" : "." + decimals);
}

}  // namespace hearth::manager
