// EndedJob: what is in memory of each of ten thousand old jobs; the rest is read from the store.
#pragma once

#include "base/clock.h"
#include "manager/job.h"

namespace hearth::manager {

inline bool IsStanding(const Job& job) { return job.spec.keep && !job.cancelled; }

struct EndedJob {
  JobState state = JobState::kPending;
  bool standing = false;
  WallTime updated{};
  WallTime due{};  // of a standing preheat: its next refresh

  static EndedJob Of(const Job& head) {
    return {.state = head.state,
            .standing = IsStanding(head),
            .updated = head.updated,
            .due = head.refreshed + head.spec.refresh};
  }
};

}  // namespace hearth::manager
