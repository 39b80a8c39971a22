#include "plugin/byte_range.h"

#include <algorithm>
#include <charconv>

namespace hearth::plugin {
namespace {

// Digits only; a number that does not fit is the largest one.
std::optional<uint64_t> ParseNumber(std::string_view text) {
  if (text.empty() || text.find_first_not_of("0123456789") != std::string_view::npos) {
    return std::nullopt;
  }
  uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc() ? value : UINT64_MAX;
}

}  // namespace

Result<std::optional<ByteRange>> ByteRange::Parse(std::string_view header, uint64_t size_bytes) {
  constexpr std::string_view kUnit = "bytes=";
  if (!header.starts_with(kUnit)) return std::optional<ByteRange>();
  header.remove_prefix(kUnit.size());
  const size_t dash = header.find('-');
  if (dash == std::string_view::npos) return std::optional<ByteRange>();
  const std::string_view first = header.substr(0, dash);
  const std::string_view last = header.substr(dash + 1);
  const std::optional<uint64_t> end = ParseNumber(last);
  if (!end && !last.empty()) return std::optional<ByteRange>();

  if (first.empty()) {  // the last n bytes
    if (!end) return std::optional<ByteRange>();
    if (*end == 0 || size_bytes == 0) return OutOfRange("empty range");
    return std::optional(ByteRange{size_bytes - std::min(*end, size_bytes), size_bytes});
  }
  const std::optional<uint64_t> begin = ParseNumber(first);
  if (!begin || (end && *end < *begin)) return std::optional<ByteRange>();
  if (*begin >= size_bytes) return OutOfRange("range begins after the end");
  const uint64_t last_byte = std::min(end.value_or(UINT64_MAX), size_bytes - 1);
  return std::optional(ByteRange{*begin, last_byte + 1});
}

std::string ByteRange::ContentRange(uint64_t total_bytes) const {
  return "bytes " + std::to_string(begin_bytes) + "-" + std::to_string(end_bytes - 1) + "/" +
         std::to_string(total_bytes);
}

}  // namespace hearth::plugin
