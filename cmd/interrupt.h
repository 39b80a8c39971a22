// Interrupt: SIGINT and SIGTERM become a stop token; a second one ends the process with 130.
//
// Make it in main's thread before any other thread is started (they inherit the blocked signals),
// at most one at a time.
#pragma once

#include <signal.h>

#include <stop_token>
#include <thread>

#include "base/file.h"

namespace hearth::cmd {

class Interrupt {
 public:
  Interrupt();
  ~Interrupt();
  Interrupt(const Interrupt&) = delete;
  Interrupt& operator=(const Interrupt&) = delete;

  std::stop_token token() const { return stop_.get_token(); }
  bool happened() const { return stop_.stop_requested(); }

 private:
  void Watch();

  sigset_t before_{};
  Fd signals_;
  Fd wake_;
  std::stop_source stop_;
  std::thread thread_;
};

}  // namespace hearth::cmd
