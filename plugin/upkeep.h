// Upkeep: what a node does for its layers away from the path of any pull.
//
// A layer is committed without syncing its files. When the kernel has had time to write them by
// itself, this syncs the file system once and marks the layers that it covers; until then a power
// loss takes them. A sync right after the commits would force gigabytes out at once, and each small
// sync of containerd's database would wait behind them. An orderly stop syncs too. Some seconds
// after the last change, and every minute, it deletes the directories that snapshots left behind
// and frees space where that is short; a file system that becomes short in between is seen within
// seconds. Every minute it also drops a share of the records that nothing needs any more.
#pragma once

#include <algorithm>
#include <chrono>
#include <functional>
#include <stop_token>
#include <thread>
#include <vector>

#include "base/status.h"
#include "base/thread.h"
#include "store/collector.h"
#include "store/store.h"

namespace hearth::plugin {

class Upkeep {
 public:
  struct Options {
    store::Store& store;
    store::Collector& collector;
    // After the last change, and after the first one however many follow.
    struct Pause {
      std::chrono::milliseconds quiet;
      std::chrono::milliseconds longest;
    };
    Pause collect{std::chrono::seconds(3), std::chrono::seconds(30)};
    // The kernel writes by itself what has been dirty for 30 s.
    Pause sync{std::chrono::seconds(35), std::chrono::seconds(120)};
    std::chrono::milliseconds interval{60'000};  // of what needs no change
    std::chrono::milliseconds look{5'000};       // at the free space
    // Each at every interval: drops a share of the records that are of no use any more.
    std::vector<std::function<Status()>> sweeps = {};
  };
  explicit Upkeep(Options options);
  // Syncs what is not synced yet, since a reboot may follow, and joins.
  ~Upkeep();

  // A layer was committed or a snapshot removed. Any thread; returns at once.
  void Notice();

 private:
  using Clock = std::chrono::steady_clock;

  // Work that a change asks for, once for many of them.
  class Waiting {
   public:
    explicit Waiting(Options::Pause pause) : pause_(pause) {}
    void Add(Clock::time_point now) {
      if (!any_) first_ = now;
      last_ = now;
      any_ = true;
    }
    void Clear() { any_ = false; }
    Clock::time_point Due() const {
      return any_ ? std::min(last_ + pause_.quiet, first_ + pause_.longest)
                  : Clock::time_point::max();
    }

   private:
    const Options::Pause pause_;
    bool any_ = false;
    Clock::time_point first_;
    Clock::time_point last_;
  };

  void Run();
  // Until there is something to do; false at the end.
  bool Wait(Clock::time_point next);
  // `now`: whatever its pause says.
  bool TakeSync(bool now);
  bool IsShort();
  void Collect();
  Status SyncLayers();
  void SweepRecords();

  const Options options_;
  Mutex mutex_;
  CondVar changed_;
  Waiting collect_ GUARDED_BY(mutex_);
  Waiting sync_ GUARDED_BY(mutex_);
  bool stopping_ GUARDED_BY(mutex_) = false;
  // Of the thread:
  bool nothing_left_ = false;  // to evict, at the last run
  Clock::time_point next_sweep_;
  std::stop_source stop_;
  std::thread thread_;
};

}  // namespace hearth::plugin
