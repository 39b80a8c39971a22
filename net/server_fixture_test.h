// What the tests of HttpServer share: a server on loopback, a client, and a scratch folder.
#pragma once

#include <gtest/gtest.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <string>
#include <utility>

#include "base/host_port.h"
#include "base/thread.h"
#include "net/http_client.h"
#include "net/http_server.h"
#include "net/raw_server_test.h"

namespace hearth::net {

constexpr uint64_t kFetchLimit = 64 * 1024 * 1024;

// A flag that one thread raises and another waits for.
class Event {
 public:
  void Raise() {
    MutexLock lock(mutex_);
    raised_ = true;
    changed_.NotifyAll();
  }
  // False when it was not raised in time.
  bool Wait() {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    MutexLock lock(mutex_);
    while (!raised_) {
      if (!changed_.WaitUntil(mutex_, deadline)) return raised_;
    }
    return true;
  }

 private:
  Mutex mutex_;
  CondVar changed_;
  bool raised_ GUARDED_BY(mutex_) = false;
};

class Scratch {
 public:
  Scratch() {
    char path[] = "/tmp/hearth_http_XXXXXX";
    path_ = ::mkdtemp(path);
  }
  ~Scratch() { std::filesystem::remove_all(path_); }
  const std::filesystem::path& path() const { return path_; }
  std::filesystem::path operator/(const std::string& name) const { return path_ / name; }

 private:
  std::filesystem::path path_;
};

inline ServerResponse Text(std::string body, int status = 200) {
  ServerResponse response;
  response.status = status;
  response.body = std::move(body);
  return response;
}

inline HttpServer::Options Loopback() {
  HttpServer::Options options;
  options.listen = "127.0.0.1:0";
  return options;
}

inline std::unique_ptr<HttpServer> StartServer(HttpServer::Handler handler,
                                               HttpServer::Options options = Loopback()) {
  auto server = HttpServer::Start(std::move(options), std::move(handler));
  EXPECT_TRUE(server.ok()) << server.status();
  return std::move(server).value();
}

inline uint16_t PortOf(const HttpServer& server) { return HostPort::Parse(server.address())->port; }

// Everything the server says to `bytes` until it closes.
inline std::string Say(const HttpServer& server, const std::string& bytes) {
  const Fd fd = ConnectTo(PortOf(server));
  SendAll(fd.get(), bytes);
  return ReadToEnd(fd.get());
}

inline Result<HttpResponse> Fetch(const HttpServer& server, const std::string& target,
                                  const std::string& method = "GET", std::string body = "") {
  const auto client = HttpClient::Create({}).value();
  HttpRequest request;
  request.method = method;
  request.url = "http://" + server.address() + target;
  if (server.address().starts_with("unix:")) {
    request.url = "http://localhost" + target;
    request.unix_socket = server.address().substr(5);
  }
  request.body = std::move(body);
  request.headers = {{"X-In", "in"}};
  return client->Fetch(std::move(request), kFetchLimit);
}

}  // namespace hearth::net
