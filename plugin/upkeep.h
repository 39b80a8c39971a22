// Upkeep: what a node does for its layers away from the path of any pull.
//
// A layer is committed without syncing its files. Some seconds after the last commit this syncs the
// file system once and marks the layers that it covers; until then an unclean reboot drops them.
// Then, and every few minutes, it deletes the directories that snapshots left behind.
#pragma once

#include <chrono>
#include <stop_token>
#include <thread>

#include "base/status.h"
#include "base/thread.h"
#include "store/store.h"

namespace hearth::plugin {

class Upkeep {
 public:
  struct Options {
    store::Store& store;
    std::chrono::milliseconds quiet{3'000};      // after the last commit
    std::chrono::milliseconds longest{30'000};   // after the first
    std::chrono::milliseconds interval{60'000};  // of what needs no commit
  };
  explicit Upkeep(Options options);
  // Joins; layers not synced yet are synced by the next run, or built again after a power loss.
  ~Upkeep();

  // A layer was committed or a snapshot removed. Any thread; returns at once.
  void Notice();

 private:
  void Run();
  Status SyncLayers();

  const Options options_;
  Mutex mutex_;
  CondVar changed_;
  std::chrono::steady_clock::time_point first_ GUARDED_BY(mutex_);
  std::chrono::steady_clock::time_point last_ GUARDED_BY(mutex_);
  bool pending_ GUARDED_BY(mutex_) = true;  // the last run may have left some
  bool stopping_ GUARDED_BY(mutex_) = false;
  std::stop_source stop_;
  std::thread thread_;
};

}  // namespace hearth::plugin
