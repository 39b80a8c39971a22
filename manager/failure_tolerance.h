// FailureTolerance: the share of nodes that may fail before a job does.
//
// A plain value; any thread. Compared as whole numbers: 1 of 10 is within 0.1, 2 of 10 are not, and
// one failure of any number of nodes is more than 0.
#pragma once

#include <compare>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/status.h"

namespace hearth::manager {

class FailureTolerance {
 public:
  // The documented default of an ImagePrePullJob, 0.1.
  static FailureTolerance Default() { return FailureTolerance(100'000'000); }
  static FailureTolerance None() { return FailureTolerance(0); }

  // "0", "0.1", "1" or "30%", with at most nine decimal places (seven of a percentage).
  // kInvalidArgument otherwise.
  static Result<FailureTolerance> Parse(std::string_view text);
  // "0.1"; Parse() reads it back.
  std::string ToString() const;

  bool Exceeded(uint32_t failed, uint32_t nodes) const {
    return uint64_t{failed} * kOne > uint64_t{nodes} * billionths_;
  }

  friend auto operator<=>(const FailureTolerance&, const FailureTolerance&) = default;

 private:
  static constexpr uint64_t kOne = 1'000'000'000;
  explicit FailureTolerance(uint64_t billionths) : billionths_(billionths) {}

  uint64_t billionths_;
};

}  // namespace hearth::manager
