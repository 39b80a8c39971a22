#include "cmd/interrupt.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <array>
#include <utility>

#include "cmd/commands.h"

namespace hearth::cmd {

namespace {

bool IsIgnored(int signal_number) {
  struct sigaction now {};
  return ::sigaction(signal_number, nullptr, &now) == 0 && now.sa_handler == SIG_IGN;
}

}  // namespace

Interrupt::Interrupt() {
  sigset_t mask;
  sigemptyset(&mask);
  sigaddset(&mask, SIGINT);
  sigaddset(&mask, SIGTERM);
  // A blocked signal comes even where it is ignored: nohup is to mean what it says.
  if (!IsIgnored(SIGHUP)) sigaddset(&mask, SIGHUP);
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
    if (stop_.stop_requested()) {
      MutexLock lock(mutex_);  // to the end: `undo_` stays
      if (undo_) undo_();
      _exit(kInterrupted);
    }
    stop_.request_stop();
  }
}

Interrupt::AtSecond::AtSecond(Interrupt& interrupt, std::function<void()> undo)
    : interrupt_(interrupt) {
  MutexLock lock(interrupt_.mutex_);
  interrupt_.undo_ = std::move(undo);
}

Interrupt::AtSecond::~AtSecond() {
  MutexLock lock(interrupt_.mutex_);
  interrupt_.undo_ = nullptr;
}

}  // namespace hearth::cmd
