#include "config/checks.h"

#include <arpa/inet.h>

#include "base/host_port.h"

namespace hearth::config {

namespace {

bool IsIpAddress(const std::string& text) {
  in6_addr address{};
  return inet_pton(AF_INET, text.c_str(), &address) == 1 ||
         inet_pton(AF_INET6, text.c_str(), &address) == 1;
}

}  // namespace

Status CheckAbsolute(const std::string& path) {
  if (!path.empty() && path.front() == '/') return OkStatus();
  return InvalidArgument("must be an absolute path");
}

Status CheckAbsoluteOrEmpty(const std::string& path) {
  return path.empty() ? OkStatus() : CheckAbsolute(path);
}

// "HOST:PORT" with an address in front, IPv6 in brackets.
Result<std::string> ListenHost(const std::string& listen) {
  auto parsed = HostPort::Parse(listen);
  if (!parsed.ok()) {
    return InvalidArgument(
        "must be ADDRESS:PORT, as in 127.0.0.1:7733; port 0 (any free one) to 65535");
  }
  if (!IsIpAddress(parsed->host)) return InvalidArgument("needs an IP address to listen on");
  return std::move(parsed->host);
}

Status CheckListen(const std::string& listen) { return ListenHost(listen).status(); }

}  // namespace hearth::config
