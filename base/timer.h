// TimerQueue: calls back later, all from one thread, so that a wait holds no thread of its own.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <thread>
#include <utility>

#include "base/clock.h"
#include "base/thread.h"

namespace hearth {

class TimerQueue {
 public:
  TimerQueue();
  // Drops what has not fired yet.
  ~TimerQueue();

  using Id = uint64_t;
  // Runs `fire` once at `when` on the queue's thread; it must not block. Any thread.
  Id At(SteadyTime when, std::function<void()> fire);
  // False when it fired already or is firing now.
  bool Cancel(Id id);

 private:
  void Run();

  Mutex mutex_;
  CondVar changed_;
  std::map<std::pair<SteadyTime, Id>, std::function<void()>> timers_ GUARDED_BY(mutex_);
  std::map<Id, SteadyTime> times_ GUARDED_BY(mutex_);
  Id next_id_ GUARDED_BY(mutex_) = 1;
  bool stopping_ GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace hearth
