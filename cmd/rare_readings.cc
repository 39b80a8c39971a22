#include "cmd/rare_readings.h"

#include <algorithm>
#include <utility>

namespace hearth::cmd {

void RareReadings::AddTo(std::vector<Reading>& out) {
  {
    MutexLock lock(mutex_);
    while (making_ && !last_) made_.Wait(mutex_);
    if (making_ || (last_ && clock_.SteadyNow() < next_)) {
      out.insert(out.end(), last_->begin(), last_->end());
      return;
    }
    making_ = true;
  }
  const SteadyTime start = clock_.SteadyNow();
  std::vector<Reading> readings;
  make_(readings);
  const SteadyTime end = clock_.SteadyNow();
  out.insert(out.end(), readings.begin(), readings.end());
  MutexLock lock(mutex_);
  making_ = false;
  last_ = std::move(readings);
  next_ = end;
  if (end - start > kQuickReadings) {
    next_ += std::max<SteadyTime::duration>(kKeepReadings, (end - start) * kReadingsShare);
  }
  made_.NotifyAll();
}

}  // namespace hearth::cmd
