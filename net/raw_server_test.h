// RawServer: a socket that answers exactly the bytes a test wants, for answers no decent server
// gives. For tests only.
#pragma once

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <cstring>
#include <functional>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "base/file.h"
#include "base/thread.h"

namespace hearth::net {

// Sends all of `data`; false when the other side is gone.
inline bool SendAll(int fd, std::string_view data) {
  while (!data.empty()) {
    const ssize_t sent = ::send(fd, data.data(), data.size(), MSG_NOSIGNAL);
    if (sent <= 0) return false;
    data.remove_prefix(static_cast<size_t>(sent));
  }
  return true;
}

// Reads until `end` was seen or the other side closed.
inline std::string ReadUntil(int fd, std::string_view end) {
  std::string text;
  char c = 0;
  while (!text.ends_with(end) && ::recv(fd, &c, 1, 0) == 1) text.push_back(c);
  return text;
}

inline std::string ReadToEnd(int fd) {
  std::string text;
  char buffer[65536];
  ssize_t got = 0;
  while ((got = ::recv(fd, buffer, sizeof(buffer), 0)) > 0) {
    text.append(buffer, static_cast<size_t>(got));
  }
  return text;
}

// Waits until the other side closed.
inline void AwaitClose(int fd) { ReadToEnd(fd); }

// A connection to 127.0.0.1:`port`.
inline Fd ConnectTo(uint16_t port) {
  Fd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  EXPECT_EQ(::connect(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
  return fd;
}

class RawServer {
 public:
  // `serve` has one connection, on its own thread, which is closed when it returns. `request` is
  // the request's head as it came.
  using Serve = std::function<void(int fd, const std::string& request)>;
  struct Raw {};  // nothing is read before `serve`

  explicit RawServer(Serve serve)
      : RawServer(
            [serve = std::move(serve)](int fd) {
              const std::string request = ReadUntil(fd, "\r\n\r\n");
              if (!request.empty()) serve(fd, request);
            },
            Raw{}) {}
  RawServer(std::function<void(int fd)> serve, Raw) : serve_(std::move(serve)) {
    listener_ = Fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof(address);
    auto* generic = reinterpret_cast<sockaddr*>(&address);
    CHECK(::bind(listener_.get(), generic, size) == 0);
    CHECK(::listen(listener_.get(), 64) == 0);
    CHECK(::getsockname(listener_.get(), generic, &size) == 0);
    port_ = ntohs(address.sin_port);
    acceptor_ = std::thread([this] { Accept(); });
  }
  ~RawServer() {
    ::shutdown(listener_.get(), SHUT_RDWR);
    acceptor_.join();
    for (auto& thread : connections_) thread.join();
  }

  uint16_t port() const { return port_; }
  std::string Url(const std::string& path = "/") const {
    return "http://127.0.0.1:" + std::to_string(port_) + path;
  }
  int accepted() const { return accepted_; }

 private:
  void Accept() {
    while (true) {
      const int fd = ::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC);
      if (fd < 0) return;
      ++accepted_;
      connections_.emplace_back([this, connection = Fd(fd)] { serve_(connection.get()); });
    }
  }

  const std::function<void(int fd)> serve_;
  Fd listener_;
  uint16_t port_ = 0;
  std::atomic<int> accepted_ = 0;
  std::vector<std::thread> connections_;  // of the acceptor until it ended
  std::thread acceptor_;
};

}  // namespace hearth::net
