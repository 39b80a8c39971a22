#include "manager/change_wait.h"

#include <exception>
#include <utility>

#include "base/log.h"

namespace hearth::manager {

namespace {

SteadyTime Now() { return std::chrono::steady_clock::now(); }

}  // namespace

void ChangeWait::Start(Options options) {
  const auto wait = std::make_shared<ChangeWait>(std::move(options));
  wait->Begin();
}

ChangeWait::ChangeWait(Options options)
    : tools_(options.tools),
      job_(options.job),
      until_(options.until),
      gone_(std::move(options.gone)),
      attempt_(std::make_shared<const std::function<bool(bool)>>(std::move(options.attempt))),
      not_before_(options.not_before) {}

// The timer of until_ is what keeps it alive.
void ChangeWait::Begin() {
  tools_.feed.Watch(shared_from_this(), job_);
  SteadyTime first;
  {
    MutexLock lock(mutex_);
    timer_ = tools_.timers.At(until_, [self = shared_from_this()] { self->Changed(); });
    first = not_before_;
  }
  on_gone_.emplace(gone_, [weak = weak_from_this()] {
    if (const auto self = weak.lock()) self->Finish();
  });
  Knock(first);
}

void ChangeWait::Changed() {
  SteadyTime when;
  {
    MutexLock lock(mutex_);
    if (attempt_ == nullptr) return;
    if (std::exchange(queued_, true)) {
      again_ = true;
      return;
    }
    when = not_before_;
  }
  Knock(when);
}

void ChangeWait::Knock(SteadyTime when) {
  if (when <= Now()) return Queue();
  tools_.timers.At(when, [self = shared_from_this()] { self->Queue(); });
}

void ChangeWait::Queue() {
  const Status queued = tools_.workers.Submit([self = shared_from_this()] { self->Try(); });
  if (queued.ok()) return;
  if (queued.code() == StatusCode::kCancelled) return Finish();  // the workers have stopped
  tools_.timers.At(Now() + kMinPause, [self = shared_from_this()] { self->Queue(); });
}

void ChangeWait::Try() {
  Attempt attempt;
  const bool last = Now() >= until_ || tools_.feed.ended();
  {
    MutexLock lock(mutex_);
    attempt = attempt_;
    again_ = false;
    not_before_ = Now() + kMinPause;
  }
  if (attempt == nullptr) return;
  try {
    if ((*attempt)(last) || last) return Finish();
  } catch (const std::exception& error) {  // a stored document that is not what it was
    LOG_ERROR("a change could not be told", {{"error", error.what()}});
    return Finish();
  }
  SteadyTime when;
  {
    MutexLock lock(mutex_);
    if (!again_) {
      queued_ = false;
      return;
    }
    when = not_before_;
  }
  Knock(when);
}

void ChangeWait::Finish() {
  Attempt over;  // what it holds may end here, without the lock
  TimerQueue::Id timer = 0;
  {
    MutexLock lock(mutex_);
    over = std::exchange(attempt_, nullptr);
    timer = timer_;
  }
  (void)tools_.timers.Cancel(timer);
}

}  // namespace hearth::manager
