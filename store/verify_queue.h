// VerifyQueue: where the bytes of growing blobs are hashed: on the node's CPU pool, or, while that
// has no place for one task more, one after the other on a thread of the store's own.
//
// Any thread. The pool must outlive it.
#pragma once

#include <functional>

#include "base/status.h"
#include "base/thread.h"

namespace hearth::store {

class VerifyQueue {
 public:
  explicit VerifyQueue(ThreadPool& pool) : pool_(pool) {}
  // Waits for all tasks.
  ~VerifyQueue() { Join(); }

  // On the pool. kResourceExhausted: it is full; kCancelled: it stops. Then the task is lost.
  Status Submit(std::function<void()> task);
  // On the spare thread. A blob has one task at a time, and the store a bounded number of blobs:
  // only where even they fill this queue does the caller run the task himself.
  void SubmitSpare(std::function<void()> task);
  // Returns when no task is left. None may be submitted any more but by tasks.
  void Join();

 private:
  std::function<void()> Counted(std::function<void()> task);
  void Begin();
  void End();

  ThreadPool& pool_;
  Mutex mutex_;
  CondVar idle_;
  int tasks_ GUARDED_BY(mutex_) = 0;
  ThreadPool spare_{{.name = "verify-spare", .threads = 1, .queue_limit = 4096}};
};

}  // namespace hearth::store
