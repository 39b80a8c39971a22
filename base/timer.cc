#include "base/timer.h"

namespace hearth {

TimerQueue::TimerQueue() : thread_([this] { Run(); }) {}

TimerQueue::~TimerQueue() { Stop(); }

void TimerQueue::Stop() {
  std::map<std::pair<SteadyTime, Id>, std::function<void()>> dropped;  // ends outside of the lock
  {
    MutexLock lock(mutex_);
    stopping_ = true;
    dropped.swap(timers_);
    times_.clear();
  }
  changed_.NotifyAll();
  MutexLock lock(join_mutex_);
  if (thread_.joinable()) thread_.join();
}

TimerQueue::Id TimerQueue::At(SteadyTime when, std::function<void()> fire) {
  Id id = 0;
  {
    MutexLock lock(mutex_);
    id = next_id_++;
    if (stopping_) return id;
    timers_.emplace(std::make_pair(when, id), std::move(fire));
    times_.emplace(id, when);
  }
  changed_.NotifyAll();
  return id;
}

bool TimerQueue::Cancel(Id id) {
  std::function<void()> dropped;  // its captures end outside of the lock
  MutexLock lock(mutex_);
  const auto time = times_.find(id);
  if (time == times_.end()) return false;
  const auto timer = timers_.find({time->second, id});
  dropped = std::move(timer->second);
  timers_.erase(timer);
  times_.erase(time);
  return true;
}

void TimerQueue::Run() {
  NameThread("timers");
  while (true) {
    std::function<void()> fire;
    {
      MutexLock lock(mutex_);
      while (!stopping_) {
        if (timers_.empty()) {
          changed_.Wait(mutex_);
          continue;
        }
        const SteadyTime next = timers_.begin()->first.first;
        if (next <= std::chrono::steady_clock::now()) break;
        (void)changed_.WaitUntil(mutex_, next);
      }
      if (stopping_) return;
      const auto due = timers_.begin();
      fire = std::move(due->second);
      times_.erase(due->first.second);
      timers_.erase(due);
    }
    fire();
  }
}

}  // namespace hearth
