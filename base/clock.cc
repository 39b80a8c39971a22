#include "base/clock.h"

namespace hearth {

namespace {

class MachineClock final : public Clock {
 public:
  WallTime WallNow() const override {
    return std::chrono::time_point_cast<std::chrono::nanoseconds>(std::chrono::system_clock::now());
  }
  SteadyTime SteadyNow() const override { return std::chrono::steady_clock::now(); }
};

}  // namespace

const Clock& RealClock() {
  static const MachineClock clock;
  return clock;
}

std::chrono::steady_clock::duration Deadline::Left() const {
  if (IsNever()) return std::chrono::steady_clock::duration::max();
  const auto now = std::chrono::steady_clock::now();
  return now >= at_ ? std::chrono::steady_clock::duration::zero() : at_ - now;
}

}  // namespace hearth
