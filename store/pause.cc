#include "store/pause.h"

#include <condition_variable>
#include <mutex>

namespace hearth::store {

void PauseFor(std::chrono::milliseconds time, const std::stop_token& stop) {
  std::mutex mutex;
  std::condition_variable_any wake;
  std::unique_lock lock(mutex);
  (void)wake.wait_for(lock, stop, time, [] { return false; });
}

}  // namespace hearth::store
