// Durability: makes unpacked layers safe against a power loss, away from the path of any pull.
//
// A layer is committed without syncing its files. Some seconds after the last commit this syncs the
// file system once and marks the layers that it covers; until then an unclean reboot drops them.
#pragma once

#include <chrono>
#include <thread>

#include "base/status.h"
#include "base/thread.h"
#include "store/store.h"

namespace hearth::plugin {

class Durability {
 public:
  struct Options {
    store::Store& store;
    std::chrono::milliseconds quiet{3'000};     // after the last commit
    std::chrono::milliseconds longest{30'000};  // after the first
  };
  explicit Durability(Options options);
  // Syncs what is left, then joins.
  ~Durability();

  // A layer was committed. Any thread; returns at once.
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
  std::thread thread_;
};

}  // namespace hearth::plugin
