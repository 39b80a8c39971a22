#include "net/listener.h"

#include <netdb.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <memory>
#include <string_view>

#include "base/host_port.h"
#include "net/socket_name.h"

namespace hearth::net {

namespace {

constexpr int kBacklog = 128;
constexpr int kSocketFlags = SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK;
constexpr std::string_view kUnixPrefix = "unix:";

Result<Fd> NewSocket(int family) {
  Fd fd(::socket(family, kSocketFlags, 0));
  if (!fd.valid()) return ErrnoStatus(errno, "socket");
  return fd;
}

Result<Listener> ListenTcp(const std::string& where) {
  const auto parsed = HostPort::Parse(where);
  if (!parsed.ok()) {
    return InvalidArgument("listen address " + parsed.status().message() + " nor unix:/path");
  }
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE | AI_NUMERICSERV;
  addrinfo* found = nullptr;
  const int error =
      ::getaddrinfo(parsed->host.c_str(), std::to_string(parsed->port).c_str(), &hints, &found);
  if (error != 0) {
    return InvalidArgument("listen address \"" + where + "\": " + ::gai_strerror(error));
  }
  const std::unique_ptr<addrinfo, decltype(&::freeaddrinfo)> addresses(found, ::freeaddrinfo);
  Fd fd = TRY(NewSocket(addresses->ai_family));
  const int on = 1;
  ::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
  if (::bind(fd.get(), addresses->ai_addr, addresses->ai_addrlen) != 0 ||
      ::listen(fd.get(), kBacklog) != 0) {
    if (errno == EADDRINUSE) {
      return AlreadyExists("listen on " + where + ": the address is in use by another process");
    }
    return ErrnoStatus(errno, "listen on " + where);
  }
  const HostPort name = LocalName(fd.get());
  return Listener{std::move(fd), name.ToString()};
}

Result<sockaddr_un> UnixAddress(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.empty() || path.size() >= sizeof(address.sun_path)) {
    return InvalidArgument("socket path \"" + path + "\": want 1 to " +
                           std::to_string(sizeof(address.sun_path) - 1) + " bytes");
  }
  std::memcpy(address.sun_path, path.data(), path.size());
  return address;
}

// OK when nothing lives at `path`.
Status CheckFree(const std::string& path) {
  struct stat info {};
  if (::lstat(path.c_str(), &info) != 0) {
    return errno == ENOENT ? OkStatus() : ErrnoStatus(errno, "stat " + path);
  }
  if (!S_ISSOCK(info.st_mode)) {
    return FailedPrecondition("listen on " + path + ": something that is no socket lies there");
  }
  const sockaddr_un address = TRY(UnixAddress(path));
  const Fd probe = TRY(NewSocket(AF_UNIX));
  // EAGAIN: it lives, and its queue is full.
  if (::connect(probe.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0 ||
      errno == EAGAIN) {
    return AlreadyExists("listen on " + path + ": another process answers there");
  }
  return OkStatus();
}

Result<Listener> ListenUnix(const std::string& path, mode_t mode) {
  TRY_STATUS(UnixAddress(path));
  TRY_STATUS(CheckFree(path));
  const std::string temporary = path + "." + std::to_string(::getpid());
  const sockaddr_un address = TRY(UnixAddress(temporary));
  Fd fd = TRY(NewSocket(AF_UNIX));
  ::unlink(temporary.c_str());
  if (::bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0) {
    return ErrnoStatus(errno, "listen on " + path);
  }
  // Nobody can connect before listen(), so the mode holds from the first connection on.
  if (::chmod(temporary.c_str(), mode) != 0 || ::listen(fd.get(), kBacklog) != 0 ||
      ::rename(temporary.c_str(), path.c_str()) != 0) {
    const Status failed = ErrnoStatus(errno, "listen on " + path);
    ::unlink(temporary.c_str());
    return failed;
  }
  return Listener{std::move(fd), std::string(kUnixPrefix) + path};
}

}  // namespace

Result<Listener> Listen(const std::string& where, mode_t unix_mode) {
  if (!where.starts_with(kUnixPrefix)) return ListenTcp(where);
  return ListenUnix(where.substr(kUnixPrefix.size()), unix_mode);
}

}  // namespace hearth::net
