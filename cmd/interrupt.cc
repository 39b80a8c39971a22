#include "cmd/interrupt.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <array>

#include "base/thread.h"
#include "cmd/commands.h"

namespace hearth::cmd {

Interrupt::Interrupt() {
  sigset_t mask;
  sigemptyset(&mask);
  sigaddset(&mask, SIGINT);
  sigaddset(&mask, SIGTERM);
  CHECK(pthread_sigmask(SIG_BLOCK, &mask, &before_) == 0);
  signals_ = Fd(signalfd(-1, &mask, SFD_CLOEXEC));
  wake_ = Fd(eventfd(0, EFD_CLOEXEC));
  CHECK(signals_.valid() && wake_.valid());
  thread_ = std::thread([this] { Watch(); });
}

Interrupt::~Interrupt() {
  const uint64_t one = 1;
  CHECK(write(wake_.get(), &one, sizeof(one)) == sizeof(one));
  thread_.join();
  pthread_sigmask(SIG_SETMASK, &before_, nullptr);
}

void Interrupt::Watch() {
  NameThread("interrupt");
  while (true) {
    std::array<pollfd, 2> ready = {{{signals_.get(), POLLIN, 0}, {wake_.get(), POLLIN, 0}}};
    if (poll(ready.data(), ready.size(), -1) < 0) continue;
    if (ready[1].revents != 0) return;
    signalfd_siginfo info{};
    if (read(signals_.get(), &info, sizeof(info)) != sizeof(info)) continue;
    if (stop_.stop_requested()) _exit(kInterrupted);
    stop_.request_stop();
  }
}

}  // namespace hearth::cmd
