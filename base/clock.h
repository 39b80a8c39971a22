// Time: the wall clock (may jump; for records) and the steady clock (for waits), and Deadline.
#pragma once

#include <chrono>
#include <cstdint>

namespace hearth {

// Nanoseconds since 1970-01-01 UTC; what records keep and containerd compares exactly.
using WallTime = std::chrono::time_point<std::chrono::system_clock, std::chrono::nanoseconds>;
using SteadyTime = std::chrono::steady_clock::time_point;

class Clock {
 public:
  virtual ~Clock() = default;
  virtual WallTime WallNow() const = 0;
  virtual SteadyTime SteadyNow() const = 0;
};

// The machine's clocks; lives as long as the process.
const Clock& RealClock();

// A clock that stands still until a test moves it. One thread at a time.
class FakeClock final : public Clock {
 public:
  WallTime WallNow() const override { return wall_; }
  SteadyTime SteadyNow() const override { return steady_; }
  void Advance(std::chrono::nanoseconds step) {
    wall_ += step;
    steady_ += std::chrono::duration_cast<std::chrono::steady_clock::duration>(step);
  }
  // Moves the wall clock alone, as an operator or NTP does.
  void JumpWall(std::chrono::nanoseconds step) { wall_ += step; }

 private:
  WallTime wall_{std::chrono::seconds(1'700'000'000)};
  SteadyTime steady_{std::chrono::seconds(1'000)};
};

// A point on the steady clock by which something must be done.
class Deadline {
 public:
  static Deadline Never() { return Deadline(SteadyTime::max()); }
  static Deadline After(std::chrono::steady_clock::duration wait) {
    return Deadline(std::chrono::steady_clock::now() + wait);
  }
  explicit Deadline(SteadyTime at) : at_(at) {}
  SteadyTime at() const { return at_; }
  bool IsNever() const { return at_ == SteadyTime::max(); }
  bool Passed() const { return !IsNever() && std::chrono::steady_clock::now() >= at_; }
  // Zero when it passed.
  std::chrono::steady_clock::duration Left() const;

 private:
  SteadyTime at_;
};

inline int64_t ToUnixNanos(WallTime time) { return time.time_since_epoch().count(); }
inline WallTime FromUnixNanos(int64_t nanos) { return WallTime(std::chrono::nanoseconds(nanos)); }

}  // namespace hearth
