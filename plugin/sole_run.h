// SoleRun: held by whoever changes the whole store on containerd's behalf: one adoption, repair,
// handing back or mending at a time. What the node does by itself makes way for an operator. Any
// thread.
#pragma once

#include <optional>
#include <stop_token>

#include "base/thread.h"

namespace hearth::plugin {

class SoleRun {
 public:
  // An operator's run: false while another operator's is under way, else End() must follow. The
  // node's own is asked to stop.
  bool TryBegin() {
    MutexLock lock(mutex_);
    if (held_) return false;
    held_ = true;
    own_stop_.request_stop();
    return true;
  }
  // Blocks until the node's own run has stopped.
  void AwaitOwn() {
    MutexLock lock(mutex_);
    while (own_) changed_.Wait(mutex_);
  }
  void End() {
    MutexLock lock(mutex_);
    held_ = false;
  }

  // The node's own run: none while another is under way, else what asks it to stop; EndOwn() must
  // follow.
  std::optional<std::stop_token> TryBeginOwn() {
    MutexLock lock(mutex_);
    if (held_ || own_) return std::nullopt;
    own_ = true;
    own_stop_ = std::stop_source();
    return own_stop_.get_token();
  }
  void EndOwn() {
    MutexLock lock(mutex_);
    own_ = false;
    changed_.NotifyAll();
  }

 private:
  Mutex mutex_;
  CondVar changed_;
  bool held_ GUARDED_BY(mutex_) = false;
  bool own_ GUARDED_BY(mutex_) = false;
  std::stop_source own_stop_ GUARDED_BY(mutex_);
};

}  // namespace hearth::plugin
