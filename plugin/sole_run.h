// SoleRun: held by whoever changes the whole store on containerd's behalf; one adoption, repair,
// handing back or mending at a time. Any thread.
#pragma once

#include <atomic>

namespace hearth::plugin {

class SoleRun {
 public:
  // False while another runs; else End() must follow.
  bool TryBegin() { return !running_.exchange(true); }
  void End() { running_ = false; }

 private:
  std::atomic<bool> running_{false};
};

}  // namespace hearth::plugin
