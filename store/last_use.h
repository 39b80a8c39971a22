// When blobs and layers were last used, as their records say it.
#pragma once

#include <chrono>

#include "base/clock.h"

namespace hearth::store {

// How old a recorded use may be before the next one is recorded too.
inline constexpr std::chrono::minutes kUseGranularity{5};

// Whether a record says that something was used after `since`. A use in the future tells of a
// clock that was wrong, and counts as none: else it would keep its thing for ever.
inline bool UsedSince(WallTime last_used, WallTime since, WallTime now) {
  return last_used > since && last_used <= now;
}

}  // namespace hearth::store
