// Signals: those that tell the daemon to stop or to reload, on a descriptor.
//
// Every thread must have them blocked, so it comes before the first thread. One thread waits.
#pragma once

#include <poll.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <chrono>
#include <optional>

#include "base/file.h"
#include "base/status.h"

namespace hearth::cmd {

class Signals {
 public:
  Signals() {
    ::sigemptyset(&set_);
    for (const int number : {SIGINT, SIGTERM, SIGHUP}) ::sigaddset(&set_, number);
    ::pthread_sigmask(SIG_BLOCK, &set_, nullptr);
    fd_ = Fd(::signalfd(-1, &set_, SFD_CLOEXEC));
    CHECK(fd_.valid());
  }
  // The next signal; 0 when none came for `wait` (absent = for ever).
  int Wait(std::optional<std::chrono::milliseconds> wait) const {
    pollfd ready{fd_.get(), POLLIN, 0};
    const int timeout_ms = wait ? static_cast<int>(wait->count()) : -1;
    if (::poll(&ready, 1, timeout_ms) <= 0) return 0;
    signalfd_siginfo info{};
    if (::read(fd_.get(), &info, sizeof(info)) != sizeof(info)) return 0;
    return static_cast<int>(info.ssi_signo);
  }

 private:
  sigset_t set_{};
  Fd fd_;
};

}  // namespace hearth::cmd
