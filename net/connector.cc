#include "net/connector.h"

#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>

#include <algorithm>
#include <memory>

namespace hearth::net {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

// Waits for a connect(2) under way.
Status AwaitConnected(int fd, steady_clock::time_point deadline) {
  while (true) {
    const auto left = std::chrono::duration_cast<milliseconds>(deadline - steady_clock::now());
    pollfd wait{fd, POLLOUT, 0};
    const int ready = ::poll(&wait, 1, static_cast<int>(std::max<int64_t>(left.count(), 0)));
    if (ready < 0 && errno == EINTR) continue;
    if (ready <= 0) return Unavailable("no answer");
    int error = 0;
    socklen_t size = sizeof(error);
    if (::getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) != 0) error = errno;
    return error == 0 ? OkStatus() : Unavailable(ErrnoStatus(error, "connect").message());
  }
}

Result<Fd> Try(const addrinfo& address, steady_clock::time_point deadline) {
  Fd fd(::socket(address.ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, IPPROTO_TCP));
  if (!fd.valid()) return ErrnoStatus(errno, "socket");
  const int on = 1;
  ::setsockopt(fd.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
  if (::connect(fd.get(), address.ai_addr, address.ai_addrlen) != 0) {
    if (errno != EINPROGRESS) return Unavailable(ErrnoStatus(errno, "connect").message());
    TRY_STATUS(AwaitConnected(fd.get(), deadline));
  }
  return fd;
}

}  // namespace

Result<Fd> ConnectTcp(const std::string& host, uint16_t port, const AddressCheck& check,
                      milliseconds timeout) {
  addrinfo hints{};
  hints.ai_family = AF_UNSPEC;
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  const int error = ::getaddrinfo(host.c_str(), std::to_string(port).c_str(), &hints, &found);
  if (error != 0) return Unavailable(std::string("name lookup: ") + ::gai_strerror(error));
  const std::unique_ptr<addrinfo, decltype(&::freeaddrinfo)> list(found, ::freeaddrinfo);
  const auto deadline = steady_clock::now() + timeout;
  Status refused = Unavailable("the host has no address");
  Status failed;
  for (const addrinfo* address = found; address != nullptr; address = address->ai_next) {
    if (check) {
      const Status allowed = check(host, *address->ai_addr);
      if (!allowed.ok()) {
        refused = PermissionDenied(allowed.message());
        continue;
      }
    }
    auto fd = Try(*address, deadline);
    if (fd.ok()) return fd;
    failed = fd.status();
  }
  return failed.ok() ? refused : failed;
}

}  // namespace hearth::net
