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
  ~TimerQueue();

  using Id = uint64_t;
  // Runs `fire` once at `when` on the queue's thread; it must not block. Any thread.
  Id At(SteadyTime when, std::function<void()> fire);
  // False when it fired already or is firing now.
  bool Cancel(Id id);
  // Drops what has not fired yet, waits for what is firing, and fires nothing any more. Idempotent.
  void Stop();

 private:
  void Run();

  Mutex mutex_;
  CondVar changed_;
  std::map<std::pair<SteadyTime, Id>, std::function<void()>> timers_ GUARDED_BY(mutex_);
  std::map<Id, SteadyTime> times_ GUARDED_BY(mutex_);
  Id next_id_ GUARDED_BY(mutex_) = 1;
  bool stopping_ GUARDED_BY(mutex_) = false;
  Mutex join_mutex_;
  std::thread thread_ GUARDED_BY(join_mutex_);
};

}  // namespace hearth
