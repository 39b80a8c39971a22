// RateMeter: how many bytes a second came lately. Plain state: no clock, no lock.
#pragma once

#include <array>
#include <cstdint>

#include "base/clock.h"

namespace hearth::manager {

class RateMeter {
 public:
  static constexpr int64_t kWindowSeconds = 10;

  void Add(uint64_t bytes, WallTime now);
  // Over the window, or since the first byte where that is not as long ago.
  uint64_t Rate(WallTime now) const;

 private:
  std::array<uint64_t, kWindowSeconds> seconds_{};  // of each, by its number modulo the window
  int64_t latest_ = 0;                              // second that has bytes; 0 = none yet
  int64_t first_ = 0;
};

}  // namespace hearth::manager
