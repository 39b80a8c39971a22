#include "cmd/notify.h"

#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include <charconv>
#include <cstddef>
#include <cstdlib>
#include <cstring>

#include "base/file.h"
#include "base/log.h"

namespace hearth::cmd {

namespace {

std::string TakeVariable(const char* name) {
  const char* value = std::getenv(name);
  std::string text = value == nullptr ? "" : value;
  ::unsetenv(name);
  return text;
}

std::optional<int64_t> ParseNumber(const std::string& text) {
  int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (text.empty() || error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

// A status is one line: what follows a line break would be another assignment.
std::string OneLine(std::string_view text) {
  std::string line(text);
  for (char& c : line) {
    if (c == '\n') c = ' ';
  }
  return line;
}

}  // namespace

Notifier Notifier::FromEnvironment() {
  Notifier notifier;
  notifier.socket_ = TakeVariable("NOTIFY_SOCKET");
  const auto micros = ParseNumber(TakeVariable("WATCHDOG_USEC"));
  const auto pid = ParseNumber(TakeVariable("WATCHDOG_PID"));
  const bool ours = !pid || *pid == ::getpid();
  if (!notifier.socket_.empty() && ours && micros && *micros > 0) {
    notifier.interval_ = std::chrono::milliseconds(*micros / 2'000);
  }
  return notifier;
}

void Notifier::Ready(std::string_view status) const { Send("READY=1\nSTATUS=" + OneLine(status)); }

void Notifier::Reloading() const {
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  const int64_t micros = int64_t{now.tv_sec} * 1'000'000 + now.tv_nsec / 1'000;
  Send("RELOADING=1\nMONOTONIC_USEC=" + std::to_string(micros));
}

void Notifier::Stopping() const { Send("STOPPING=1\nSTATUS=stopping"); }

void Notifier::Say(std::string_view status) const { Send("STATUS=" + OneLine(status)); }

void Notifier::KeepAlive() const { Send("WATCHDOG=1"); }

void Notifier::Send(const std::string& message) const {
  if (socket_.empty()) return;
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (socket_.size() >= sizeof(address.sun_path)) return;
  std::memcpy(address.sun_path, socket_.data(), socket_.size());
  if (address.sun_path[0] == '@') address.sun_path[0] = '\0';
  const auto length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + socket_.size());
  const Fd fd(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  const auto* generic = reinterpret_cast<const sockaddr*>(&address);
  // MSG_DONTWAIT: a service manager that does not read must not stop us.
  if (!fd.valid() || ::sendto(fd.get(), message.data(), message.size(), MSG_NOSIGNAL | MSG_DONTWAIT,
                              generic, length) < 0) {
    LOG_WARNING("cannot tell the service manager",
                {{"socket", socket_}, {"error", ErrnoStatus(errno, "sendto")}});
  }
}

}  // namespace hearth::cmd
