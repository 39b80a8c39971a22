#include "manager/rate_meter.h"

#include <algorithm>
#include <chrono>

namespace hearth::manager {

namespace {

int64_t SecondOf(WallTime time) {
  return std::chrono::duration_cast<std::chrono::seconds>(time.time_since_epoch()).count();
}

}  // namespace

void RateMeter::Add(uint64_t bytes, WallTime now) {
  if (bytes == 0) return;
  const int64_t second = SecondOf(now);
  // Also where the clock was set back.
  if (second >= latest_ + kWindowSeconds || second <= latest_ - kWindowSeconds) {
    seconds_ = {};
    first_ = latest_ = second;
  }
  for (; latest_ < second; ++latest_) seconds_[(latest_ + 1) % kWindowSeconds] = 0;
  seconds_[second % kWindowSeconds] += bytes;
}

uint64_t RateMeter::Rate(WallTime now) const {
  const int64_t second = SecondOf(now);
  uint64_t bytes = 0;
  for (int64_t past = std::max(latest_ - kWindowSeconds, second - kWindowSeconds) + 1;
       past <= latest_; ++past) {
    bytes += seconds_[past % kWindowSeconds];
  }
  return bytes / static_cast<uint64_t>(std::clamp<int64_t>(second - first_ + 1, 1, kWindowSeconds));
}

}  // namespace hearth::manager
