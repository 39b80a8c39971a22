// Throttle: how many failures an address may have before it is told to wait. Any thread.
#pragma once

#include <chrono>
#include <string>

#include "base/clock.h"
#include "base/lru_map.h"
#include "base/thread.h"

namespace hearth::manager {

class Throttle {
 public:
  static constexpr uint32_t kMaxFailures = 10;        // within …
  static constexpr std::chrono::seconds kWindow{60};  // … this long
  static constexpr size_t kMaxAddresses = 4096;       // remembered; the longest silent is forgotten

  explicit Throttle(const Clock& clock) : clock_(clock) {}

  // How long `address` has to wait; zero = it may try.
  std::chrono::seconds Wait(const std::string& address) EXCLUDES(mutex_) {
    MutexLock lock(mutex_);
    const Count* count = counts_.Find(address);
    if (count == nullptr || count->failures < kMaxFailures) return {};
    const auto left = count->began + kWindow - clock_.SteadyNow();
    return std::max(std::chrono::ceil<std::chrono::seconds>(left), std::chrono::seconds(0));
  }
  void Failed(const std::string& address) EXCLUDES(mutex_) {
    MutexLock lock(mutex_);
    Count* count = counts_.Find(address);
    if (count == nullptr || clock_.SteadyNow() >= count->began + kWindow) {
      counts_.Put(address, {clock_.SteadyNow(), 1});
    } else {
      ++count->failures;
    }
  }

 private:
  struct Count {
    SteadyTime began;
    uint32_t failures = 0;
  };
  const Clock& clock_;
  Mutex mutex_;
  LruMap<std::string, Count> counts_ GUARDED_BY(mutex_){kMaxAddresses};
};

}  // namespace hearth::manager
