// Upkeep: what a node does for its layers away from the path of any pull.
//
// A layer is committed without syncing its files. Some seconds after the last commit this syncs the
// file system once and marks the layers that it covers; until then a power loss takes them. An
// orderly stop syncs too. Then, and every minute, it deletes the directories that snapshots left
// behind and frees space where that is short; a file system that becomes short in between is seen
// within seconds. Every minute it also drops a share of the records that nothing needs any more.
#pragma once

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
    std::chrono::milliseconds quiet{3'000};      // after the last commit
    std::chrono::milliseconds longest{30'000};   // after the first
    std::chrono::milliseconds interval{60'000};  // of what needs no commit
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
  void Run();
  // Until there is something to do; false at the end.
  bool Wait(std::chrono::steady_clock::time_point next);
  bool IsShort();
  void Collect();
  Status SyncLayers();
  void SweepRecords();

  const Options options_;
  Mutex mutex_;
  CondVar changed_;
  std::chrono::steady_clock::time_point first_ GUARDED_BY(mutex_);
  std::chrono::steady_clock::time_point last_ GUARDED_BY(mutex_);
  bool pending_ GUARDED_BY(mutex_) = true;  // the last run may have left some
  bool stopping_ GUARDED_BY(mutex_) = false;
  // Of the thread:
  bool nothing_left_ = false;  // to evict, at the last run
  std::chrono::steady_clock::time_point next_sweep_;
  std::stop_source stop_;
  std::thread thread_;
};

}  // namespace hearth::plugin
