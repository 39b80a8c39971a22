// For tests: a Disk that waits, and a pool that is full.
#pragma once

#include <future>
#include <thread>

#include "base/clock.h"
#include "base/thread.h"
#include "store/disk.h"

namespace hearth::store {

// Its syncs of data wait while it is closed, as it is at first.
class GatedDisk final : public Disk {
 public:
  void Open() {
    MutexLock lock(mutex_);
    open_ = true;
    changed_.NotifyAll();
  }
  void Close() {
    MutexLock lock(mutex_);
    open_ = false;
  }
  Status SyncData(int fd) override {
    {
      MutexLock lock(mutex_);
      synced_by_ = std::this_thread::get_id();
      ++waiting_;
      changed_.NotifyAll();
      while (!open_) changed_.Wait(mutex_);
      --waiting_;
    }
    return Disk::SyncData(fd);
  }
  size_t waiting() const {
    MutexLock lock(mutex_);
    return waiting_;
  }
  // Until so many syncs wait; false at the deadline.
  bool AwaitWaiting(size_t count, Deadline deadline) {
    MutexLock lock(mutex_);
    while (waiting_ < count) {
      if (!changed_.WaitUntil(mutex_, deadline.at())) break;
    }
    return waiting_ >= count;
  }
  std::thread::id synced_by() const {
    MutexLock lock(mutex_);
    return synced_by_;
  }

 private:
  mutable Mutex mutex_;
  CondVar changed_;
  bool open_ GUARDED_BY(mutex_) = false;
  size_t waiting_ GUARDED_BY(mutex_) = 0;
  std::thread::id synced_by_ GUARDED_BY(mutex_);
};

// A pool without a free place: one task holds its only thread, another one its queue.
class FullPool {
 public:
  FullPool() {
    CHECK(pool_
              .Submit([this] {
                running_.set_value();
                end_.get_future().wait();
              })
              .ok());
    running_.get_future().wait();
    CHECK(pool_.Submit([] {}).ok());
  }
  ~FullPool() { end_.set_value(); }
  ThreadPool& pool() { return pool_; }

 private:
  std::promise<void> running_, end_;
  ThreadPool pool_{{.name = "full", .threads = 1, .queue_limit = 1}};
};

}  // namespace hearth::store
