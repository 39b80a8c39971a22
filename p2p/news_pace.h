// NewsPace: for how long a node gathers what it will tell its neighbours of a blob.
//
// Plain state, one per blob. Each message costs both ends as much as a hundred pieces' entries in
// it, and each wait costs whoever lacks the piece: what comes in the time of about one piece goes
// together.
#pragma once

#include <algorithm>
#include <chrono>

#include "base/clock.h"

namespace hearth::p2p {

class NewsPace {
 public:
  static constexpr std::chrono::microseconds kLeast{2'500};
  static constexpr std::chrono::milliseconds kMost{40};

  void OnPiece(SteadyTime now) {
    if (last_ != SteadyTime{}) {
      const auto gap = std::min<std::chrono::nanoseconds>(now - last_, kMost);
      mean_gap_ += (gap - mean_gap_) / 8;
    }
    last_ = now;
  }
  std::chrono::nanoseconds Gather() const {
    return std::clamp<std::chrono::nanoseconds>(mean_gap_, kLeast, kMost);
  }

 private:
  SteadyTime last_{};
  std::chrono::nanoseconds mean_gap_{};  // between pieces, smoothed
};

}  // namespace hearth::p2p
