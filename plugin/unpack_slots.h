// UnpackSlots: which layer builds may unpack now, so that stalled downloads hold none of the others
// up and still take bounded memory.
//
// A build that runs has a slot; one whose blob brings nothing for a while parks, which gives the
// slot to the next. Builds of blobs that are still growing may be open (run or park) only up to a
// limit; those of complete blobs cannot park and need a slot alone. So at most `running` +
// growing limit builds are open, each with its threads and buffers. Any thread. Holds no thread of
// its own; outlives whoever has a slot.
#pragma once

#include <cstddef>
#include <deque>
#include <functional>
#include <stop_token>
#include <vector>

#include "base/status.h"
#include "base/thread.h"

namespace hearth::plugin {

class UnpackSlots {
 public:
  struct Options {
    size_t running = 2;         // builds that unpack at once
    size_t open_growing = 6;    // builds of growing blobs that run or park
    size_t queue_limit = 4096;  // builds that wait to start; beyond it kResourceExhausted
  };
  explicit UnpackSlots(Options options) : options_(options) {}

  // Calls `start` once, here or from a thread that gives a slot up, when it has a slot; it must not
  // block. In order, but builds of complete blobs pass those of growing ones that must wait.
  Status Enqueue(bool growing, std::function<void()> start);
  // The build that has a slot ended.
  void End(bool growing);
  // The build that parked ends without having resumed.
  void EndParked(bool growing);
  // The build that has a slot waits for bytes, and gives it up.
  void Park();
  // The bytes are there: waits for a slot, before all that have not started. With a stop request it
  // gets one at once, to end soon.
  void Resume(std::stop_token stop);

 private:
  struct Waiting {
    bool growing;
    std::function<void()> start;
  };
  void Leave(bool growing, bool has_slot);
  // Takes those that may start now off the queue.
  std::vector<std::function<void()>> Admit() REQUIRES(mutex_);

  const Options options_;
  Mutex mutex_;
  CondVar freed_;
  std::deque<Waiting> queue_ GUARDED_BY(mutex_);
  size_t running_ GUARDED_BY(mutex_) = 0;
  size_t open_growing_ GUARDED_BY(mutex_) = 0;
  size_t resuming_ GUARDED_BY(mutex_) = 0;
};

}  // namespace hearth::plugin
