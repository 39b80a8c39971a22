// Digests as the 32 bytes that messages carry.
#pragma once

#include <algorithm>
#include <array>
#include <optional>
#include <string>
#include <string_view>

#include "base/digest.h"

namespace hearth {

inline std::string ToRaw(const Digest& digest) {
  return {reinterpret_cast<const char*>(digest.bytes().data()), Digest::kBytes};
}

// Nothing where `raw` is not 32 bytes.
inline std::optional<Digest> FromRaw(std::string_view raw) {
  if (raw.size() != Digest::kBytes) return std::nullopt;
  std::array<uint8_t, Digest::kBytes> bytes{};
  std::copy_n(raw.begin(), bytes.size(), bytes.begin());
  return Digest(bytes);
}

}  // namespace hearth
