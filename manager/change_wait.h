// ChangeWait: tries something at once and after each change of a job, until it works or the time
// is up. Holds no thread meanwhile.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <stop_token>

#include "base/clock.h"
#include "base/thread.h"
#include "base/timer.h"
#include "manager/job_feed.h"

namespace hearth::manager {

class ChangeWait final : public JobFeed::Watcher, public std::enable_shared_from_this<ChangeWait> {
 public:
  // Between two tries, so that a job of a thousand busy nodes is not rendered for each message.
  static constexpr std::chrono::milliseconds kMinPause{100};

  // What waits share. All outlive the waits; `workers` has room for one task of every reader.
  struct Tools {
    JobFeed& feed;
    TimerQueue& timers;
    ThreadPool& workers;
  };
  struct Options {
    Tools tools;
    std::optional<JobId> job = std::nullopt;  // none = every job
    SteadyTime not_before{};
    SteadyTime until{};
    // On a worker, one at a time. True: it worked. `last`: it is not called again, since it is
    // `until` or the feed has ended.
    std::function<bool(bool last)> attempt;
    std::stop_token gone = {};  // nobody wants it any more
  };
  static void Start(Options options);

  explicit ChangeWait(Options options);
  ~ChangeWait() override { tools_.feed.Sweep(job_); }
  void Changed() override EXCLUDES(mutex_);

 private:
  using Attempt = std::shared_ptr<const std::function<bool(bool last)>>;

  void Begin() EXCLUDES(mutex_);
  void Knock(SteadyTime when) EXCLUDES(mutex_);  // tries then
  void Queue() EXCLUDES(mutex_);
  void Try() EXCLUDES(mutex_);
  void Finish() EXCLUDES(mutex_);

  const Tools tools_;
  const std::optional<JobId> job_;
  const SteadyTime until_;
  const std::stop_token gone_;
  std::optional<std::stop_callback<std::function<void()>>> on_gone_;  // set before any try
  Mutex mutex_;
  Attempt attempt_ GUARDED_BY(mutex_);     // null: it is over
  bool queued_ GUARDED_BY(mutex_) = true;  // a try is to come, or runs
  bool again_ GUARDED_BY(mutex_) = false;  // there was a change meanwhile
  SteadyTime not_before_ GUARDED_BY(mutex_);
  TimerQueue::Id timer_ GUARDED_BY(mutex_) = 0;  // of until_
};

}  // namespace hearth::manager
