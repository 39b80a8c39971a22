// Notifier: tells the service manager (systemd) how the daemon is, as sd_notify(3) describes.
//
// A datagram per call to the socket that NOTIFY_SOCKET names; without that variable nothing is
// sent. A message that cannot be delivered is lost: the daemon works without a service manager.
// One thread.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <string_view>

namespace hearth::cmd {

class Notifier {
 public:
  // Reads NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID, and takes them out of the environment, so
  // that no child process speaks in our name.
  static Notifier FromEnvironment();

  void Ready(std::string_view status) const;
  // Between this and the next Ready() the service counts as reloading.
  void Reloading() const;
  void Stopping() const;
  // One line for `systemctl status`.
  void Say(std::string_view status) const;
  void KeepAlive() const;
  // How often KeepAlive() is expected, half of the watchdog's time; absent = no watchdog.
  std::optional<std::chrono::milliseconds> keep_alive_interval() const { return interval_; }

 private:
  void Send(const std::string& message) const;

  std::string socket_;  // path, or '@' and the abstract name; "" = nobody to tell
  std::optional<std::chrono::milliseconds> interval_;
};

}  // namespace hearth::cmd
