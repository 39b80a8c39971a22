// RareReadings: readings whose making costs time, given out again until making them anew is worth
// it.
//
// Any thread. What is made in a blink is made each time it is asked for.
#pragma once

#include <chrono>
#include <functional>
#include <optional>
#include <vector>

#include "base/clock.h"
#include "base/metrics.h"
#include "base/thread.h"

namespace hearth::cmd {

// Readings that took longer are kept for a while: at least kKeepReadings, and so long that making
// them takes a fiftieth of one core at most.
inline constexpr std::chrono::milliseconds kQuickReadings{5};
inline constexpr std::chrono::seconds kKeepReadings{15};
inline constexpr int kReadingsShare = 50;

class RareReadings {
 public:
  using Make = std::function<void(std::vector<Reading>&)>;
  explicit RareReadings(Make make, const Clock& clock = RealClock())
      : make_(std::move(make)), clock_(clock) {}

  // Appends them. Blocks while they are made; whoever asks in between gets the last ones, where
  // there are any.
  void AddTo(std::vector<Reading>& out);

 private:
  const Make make_;
  const Clock& clock_;
  Mutex mutex_;
  CondVar made_;
  bool making_ GUARDED_BY(mutex_) = false;
  SteadyTime next_ GUARDED_BY(mutex_);
  std::optional<std::vector<Reading>> last_ GUARDED_BY(mutex_);
};

}  // namespace hearth::cmd
