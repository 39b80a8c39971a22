// ByteRange: the Range header of a request (RFC 9110 §14), one range only. Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/status.h"

namespace hearth::plugin {

struct ByteRange {
  uint64_t begin_bytes = 0;
  uint64_t end_bytes = 0;  // exclusive

  // nullopt: the header is absent, malformed, of another unit or names several ranges, so that the
  // whole body is the answer. kOutOfRange: nothing of it lies within `size_bytes`.
  static Result<std::optional<ByteRange>> Parse(std::string_view header, uint64_t size_bytes);

  uint64_t size_bytes() const { return end_bytes - begin_bytes; }
  // "bytes 0-99/200"
  std::string ContentRange(uint64_t total_bytes) const;
  friend bool operator==(const ByteRange&, const ByteRange&) = default;
};

}  // namespace hearth::plugin
