#include "base/units.h"

#include <array>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <utility>

namespace hearth {

namespace {

std::string_view Trim(std::string_view text) {
  while (!text.empty() && text.front() == ' ') text.remove_prefix(1);
  while (!text.empty() && text.back() == ' ') text.remove_suffix(1);
  return text;
}

// Takes a decimal number without sign or exponent off the front of `text`.
Result<double> TakeNumber(std::string_view& text) {
  const size_t digits = text.find_first_not_of("0123456789.");
  const std::string_view number = text.substr(0, digits);
  double value = 0;
  const auto [end, error] = std::from_chars(number.data(), number.data() + number.size(), value);
  if (number.empty() || error != std::errc() || end != number.data() + number.size()) {
    return InvalidArgument("no number");
  }
  text.remove_prefix(number.size());
  return value;
}

constexpr std::array<std::pair<std::string_view, double>, 14> kByteUnits = {{
    {"", 1},
    {"B", 1},
    {"KiB", 1024.0},
    {"MiB", 1048576.0},
    {"GiB", 0x1p30},
    {"TiB", 0x1p40},
    {"K", 1024.0},
    {"M", 1048576.0},
    {"G", 0x1p30},
    {"T", 0x1p40},
    {"KB", 1e3},
    {"MB", 1e6},
    {"GB", 1e9},
    {"TB", 1e12},
}};

constexpr std::array<std::pair<std::string_view, double>, 7> kTimeUnits = {{
    {"ns", 1},
    {"us", 1e3},
    {"ms", 1e6},
    {"s", 1e9},
    {"m", 6e10},
    {"h", 3.6e12},
    {"d", 8.64e13},
}};

}  // namespace

std::optional<uint64_t> ParseDecimal(std::string_view text) {
  uint64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (text.empty() || error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return number;
}

Result<uint64_t> ParseByteSize(std::string_view text) {
  const Status wrong =
      InvalidArgument("size \"" + std::string(text) + "\": want bytes such as 1048576 or 128MiB");
  std::string_view rest = Trim(text);
  const auto number = TakeNumber(rest);
  if (!number.ok()) return wrong;
  rest = Trim(rest);
  for (const auto& [unit, factor] : kByteUnits) {
    if (rest != unit) continue;
    const double bytes = *number * factor;
    if (bytes >= 0x1p63) return wrong;
    return static_cast<uint64_t>(std::llround(bytes));
  }
  return wrong;
}

Result<std::chrono::nanoseconds> ParseDuration(std::string_view text) {
  const Status wrong = InvalidArgument("duration \"" + std::string(text) +
                                       "\": want a number with a unit such as 500ms, 5s or 24h");
  std::string_view rest = Trim(text);
  if (rest == "0") return std::chrono::nanoseconds(0);
  if (rest.empty()) return wrong;
  double total = 0;
  while (!rest.empty()) {
    const auto number = TakeNumber(rest);
    if (!number.ok()) return wrong;
    const std::string_view unit = rest.substr(0, rest.find_first_of("0123456789."));
    bool known = false;
    for (const auto& [name, nanos] : kTimeUnits) {
      if (unit != name) continue;
      total += *number * nanos;
      known = true;
    }
    if (!known || total >= 0x1p63) return wrong;
    rest.remove_prefix(unit.size());
  }
  return std::chrono::nanoseconds(std::llround(total));
}

std::string FormatByteSize(uint64_t bytes) {
  constexpr std::array<const char*, 5> kUnits = {"B", "KiB", "MiB", "GiB", "TiB"};
  auto value = static_cast<double>(bytes);
  size_t unit = 0;
  while (value >= 1024 && unit + 1 < kUnits.size()) {
    value /= 1024;
    ++unit;
  }
  char text[32];
  std::snprintf(text, sizeof(text), unit == 0 || value >= 100 ? "%.0f %s" : "%.1f %s", value,
                kUnits[unit]);
  return text;
}

std::string FormatDuration(std::chrono::nanoseconds duration) {
  const double seconds = std::chrono::duration<double>(duration).count();
  char text[32];
  if (seconds < 1) {
    std::snprintf(text, sizeof(text), "%.0fms", seconds * 1000);
  } else if (seconds < 60) {
    std::snprintf(text, sizeof(text), "%.1fs", seconds);
  } else {
    const auto whole = static_cast<long>(seconds);
    std::snprintf(text, sizeof(text), "%ldm%02lds", whole / 60, whole % 60);
  }
  return text;
}

}  // namespace hearth
