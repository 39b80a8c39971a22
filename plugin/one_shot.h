// OneShot: ends a wait once, whichever of the work, the timer and the client comes first. Any
// thread.
#pragma once

#include <atomic>

namespace hearth::plugin {

class OneShot {
 public:
  // True for the first caller only.
  bool Fire() { return !fired_.exchange(true); }

 private:
  std::atomic<bool> fired_{false};
};

}  // namespace hearth::plugin
