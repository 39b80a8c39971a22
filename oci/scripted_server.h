// ScriptedServer: for tests, an HTTP server on loopback TCP that answers by script, wrongly too.
#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

#include <atomic>
#include <cstdio>
#include <functional>
#include <list>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "base/file.h"

namespace hearth::oci {

struct Request {
  std::string method;
  std::string target;
  std::string head;  // all header lines
  std::string body;

  std::string Header(const std::string& name) const {
    const size_t at = head.find("\r\n" + name + ": ");
    if (at == std::string::npos) return "";
    const size_t start = at + name.size() + 4;
    return head.substr(start, head.find("\r\n", start) - start);
  }
};

struct Reply {
  int status = 200;
  std::map<std::string, std::string> headers;
  std::string body;
  bool chunked = false;
  std::optional<size_t> cut_after;            // closes after so many bytes of the body
  std::optional<std::string> content_length;  // a false one
  bool silent = false;                        // says nothing until the client goes
  bool hangs = false;                         // after cut_after: does not close, says no more
  bool trickles = false;                      // after cut_after: a byte now and then
};

// Answers each request by `script`; one connection per request.
class ScriptedServer {
 public:
  using Script = std::function<Reply(const Request&, int count)>;  // count from 1

  explicit ScriptedServer(Script script) : script_(std::move(script)) {
    listener_ = Fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    CHECK(::bind(listener_.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)) == 0);
    CHECK(::listen(listener_.get(), 16) == 0);
    socklen_t size = sizeof(address);
    ::getsockname(listener_.get(), reinterpret_cast<sockaddr*>(&address), &size);
    port_ = ntohs(address.sin_port);
    acceptor_ = std::thread([this] { Accept(); });
  }
  ~ScriptedServer() {
    stopping_ = true;
    ::shutdown(listener_.get(), SHUT_RDWR);
    acceptor_.join();
    for (std::thread& thread : threads_) thread.join();
  }

  std::string host() const { return "127.0.0.1:" + std::to_string(port_); }
  std::string url() const { return "http://" + host(); }
  std::vector<Request> requests() {
    std::lock_guard lock(mutex_);
    return requests_;
  }

 private:
  void Accept() {
    while (true) {
      const int fd = ::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC);
      if (fd < 0) return;
      threads_.emplace_back([this, fd] { Serve(Fd(fd)); });
    }
  }

  void Serve(Fd fd) {
    std::string text;
    char buffer[4096];
    const auto more = [&] {
      const ssize_t n = ::recv(fd.get(), buffer, sizeof(buffer), 0);
      if (n > 0) text.append(buffer, static_cast<size_t>(n));
      return n > 0;
    };
    while (text.find("\r\n\r\n") == std::string::npos) {
      if (!more()) return;
    }
    Request request;
    const size_t end = text.find("\r\n\r\n");
    request.head = text.substr(0, end + 2);
    request.method = text.substr(0, text.find(' '));
    const size_t target = request.method.size() + 1;
    request.target = text.substr(target, text.find(' ', target) - target);
    const std::string length = request.Header("Content-Length");
    while (!length.empty() && text.size() < end + 4 + std::stoul(length)) {
      if (!more()) return;
    }
    request.body = text.substr(end + 4);
    int count = 0;
    {
      std::lock_guard lock(mutex_);
      requests_.push_back(request);
      count = static_cast<int>(requests_.size());
    }
    Send(fd, request, script_(request, count));
  }

  void Send(const Fd& fd, const Request& request, const Reply& reply) {
    if (reply.silent) return AwaitClient(fd, false);
    std::string out = "HTTP/1.1 " + std::to_string(reply.status) + " x\r\nConnection: close\r\n";
    for (const auto& [name, value] : reply.headers) out += name + ": " + value + "\r\n";
    if (reply.chunked) {
      out += "Transfer-Encoding: chunked\r\n";
    } else if (!reply.headers.contains("Content-Length")) {
      out += "Content-Length: " + reply.content_length.value_or(std::to_string(reply.body.size())) +
             "\r\n";
    }
    out += "\r\n";
    if (request.method != "HEAD") {
      std::string body = reply.body.substr(0, reply.cut_after.value_or(reply.body.size()));
      if (reply.chunked) {
        char size[32];
        std::snprintf(size, sizeof(size), "%zx\r\n", body.size());
        out += size + body + "\r\n" + (reply.cut_after ? "" : "0\r\n\r\n");
      } else {
        out += body;
      }
    }
    size_t sent = 0;
    while (sent < out.size()) {
      const ssize_t n = ::send(fd.get(), out.data() + sent, out.size() - sent, MSG_NOSIGNAL);
      if (n <= 0) return;
      sent += static_cast<size_t>(n);
    }
    if (reply.hangs || reply.trickles) return AwaitClient(fd, reply.trickles);
    ::shutdown(fd.get(), SHUT_WR);
  }

  // Until the client goes; with `trickle` it gets a byte each 20 ms.
  void AwaitClient(const Fd& fd, bool trickle) {
    while (!stopping_) {
      pollfd wait{fd.get(), POLLIN, 0};
      char byte = 'x';
      if (::poll(&wait, 1, 20) > 0 && ::recv(fd.get(), &byte, 1, 0) <= 0) return;
      if (trickle && ::send(fd.get(), "x", 1, MSG_NOSIGNAL) <= 0) return;
    }
  }

  const Script script_;
  Fd listener_;
  int port_ = 0;
  std::atomic<bool> stopping_ = false;
  std::thread acceptor_;
  std::list<std::thread> threads_;
  std::mutex mutex_;
  std::vector<Request> requests_;
};

}  // namespace hearth::oci
