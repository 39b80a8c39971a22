// Interrupt: SIGINT, SIGTERM and SIGHUP become a stop token; a second one ends the process with
// 130. SIGHUP only where it is not ignored (nohup).
//
// Make it in main's thread before any other thread is started (they inherit the blocked signals),
// at most one at a time.
#pragma once

#include <signal.h>

#include <functional>
#include <stop_token>
#include <thread>

#include "base/file.h"
#include "base/thread.h"

namespace hearth::cmd {

class Interrupt {
 public:
  Interrupt();
  ~Interrupt();
  Interrupt(const Interrupt&) = delete;
  Interrupt& operator=(const Interrupt&) = delete;

  std::stop_token token() const { return stop_.get_token(); }
  bool happened() const { return stop_.stop_requested(); }

  // What must be undone where a second one comes: while this object lives, `undo` runs then, in
  // another thread, before the process ends. It must be quick. One at a time.
  class AtSecond {
   public:
    AtSecond(Interrupt& interrupt, std::function<void()> undo);
    ~AtSecond();
    AtSecond(const AtSecond&) = delete;
    AtSecond& operator=(const AtSecond&) = delete;

   private:
    Interrupt& interrupt_;
  };

 private:
  void Watch();

  sigset_t before_{};
  Fd signals_;
  Fd wake_;
  std::stop_source stop_;
  Mutex mutex_;
  std::function<void()> undo_ GUARDED_BY(mutex_);
  std::thread thread_;
};

}  // namespace hearth::cmd
