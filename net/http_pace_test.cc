// What is slow without being silent: a byte now and then must not hold anybody for ever.
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <optional>
#include <string>

#include "base/thread.h"
#include "net/http_client.h"
#include "net/raw_server_test.h"

namespace hearth::net {
namespace {

using std::chrono::milliseconds;

constexpr uint64_t kLimit = 1024 * 1024;

// Sends `start` and then a byte each 20 ms until the client goes.
RawServer::Serve Trickle(std::string start) {
  return [start = std::move(start)](int fd, const std::string&) {
    SendAll(fd, start);
    while (SendAll(fd, "x")) {
      pollfd gone{fd, POLLRDHUP, 0};
      if (::poll(&gone, 1, 20) > 0) return;
    }
  };
}

const char kHead[] = "HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n";

HttpRequest Get(const RawServer& server) {
  HttpRequest request;
  request.url = server.Url();
  return request;
}

// Takes, or with `paused` refuses, what comes; the test waits for the end.
class Taker : public HttpTransferHandler {
 public:
  Status OnHead(const HttpResponseHead&) override { return OkStatus(); }
  Result<Flow> OnData(std::string_view) override {
    if (!paused) return Flow::kGoOn;
    MutexLock lock(mutex_);
    held_back_ = true;
    changed_.NotifyAll();
    return Flow::kPause;
  }
  void OnDone(const Status& status) override {
    MutexLock lock(mutex_);
    done_ = status;
    changed_.NotifyAll();
  }
  Status Wait() {
    MutexLock lock(mutex_);
    while (!done_) changed_.Wait(mutex_);
    return *done_;
  }
  void WaitForPause() {
    MutexLock lock(mutex_);
    while (!held_back_) changed_.Wait(mutex_);
  }
  bool done() {
    MutexLock lock(mutex_);
    return done_.has_value();
  }

  std::atomic<bool> paused = false;

 private:
  Mutex mutex_;
  CondVar changed_;
  bool held_back_ GUARDED_BY(mutex_) = false;
  std::optional<Status> done_ GUARDED_BY(mutex_);
};

TEST(HttpPaceTest, TricklingAnswerHasATotalDeadline) {
  const auto client = HttpClient::Create({}).value();
  // In the body, in a line of the head, and in a redirect's body.
  const std::string redirect =
      "HTTP/1.1 302 Found\r\nLocation: /next\r\nContent-Length: 60000\r\n\r\n";
  for (const std::string& start :
       {std::string(kHead), std::string("HTTP/1.1 200 OK\r\nX: "), redirect}) {
    RawServer server(Trickle(start));
    auto request = Get(server);
    request.max_redirects = 5;
    request.total_timeout = milliseconds(300);
    const auto began = std::chrono::steady_clock::now();
    const Status status = client->Fetch(request, kLimit).status();
    const auto took = std::chrono::steady_clock::now() - began;
    EXPECT_EQ(status.code(), StatusCode::kDeadlineExceeded) << start << status;
    EXPECT_NE(status.message().find("300 ms"), std::string::npos) << status;
    EXPECT_GE(took, milliseconds(300));
    EXPECT_LT(took, milliseconds(8000));
  }
}

TEST(HttpPaceTest, TheTotalDeadlineRunsOverRedirects) {
  RawServer server([](int fd, const std::string&) {
    ::poll(nullptr, 0, 50);
    SendAll(fd, "HTTP/1.1 302 Found\r\nLocation: /again\r\nContent-Length: 0\r\n\r\n");
  });
  auto request = Get(server);
  request.max_redirects = 1'000'000;
  request.total_timeout = milliseconds(300);
  const Status status = HttpClient::Create({}).value()->Fetch(request, kLimit).status();
  EXPECT_EQ(status.code(), StatusCode::kDeadlineExceeded) << status;
}

TEST(HttpPaceTest, TheTotalDeadlineRunsWhileATransferWaitsForAConnection) {
  RawServer server([](int fd, const std::string&) { AwaitClose(fd); });
  HttpClient::Options options;
  options.max_connections = 1;
  const auto client = HttpClient::Create(options).value();
  const auto first = std::make_shared<Taker>();
  const auto transfer = client->Start(Get(server), first);
  auto request = Get(server);
  request.total_timeout = milliseconds(200);
  EXPECT_EQ(client->Fetch(request, kLimit).status().code(), StatusCode::kDeadlineExceeded);
  EXPECT_FALSE(first->done());
  transfer->Cancel();
  EXPECT_EQ(first->Wait().code(), StatusCode::kCancelled);
}

TEST(HttpPaceTest, TricklingBodyIsTooSlow) {
  RawServer server(Trickle(kHead));
  const auto client = HttpClient::Create({}).value();
  const auto taker = std::make_shared<Taker>();
  auto request = Get(server);
  request.low_speed_bytes = 10'000;
  request.low_speed_window = milliseconds(300);
  client->Start(request, taker);
  const Status status = taker->Wait();
  EXPECT_EQ(status.code(), StatusCode::kDeadlineExceeded) << status;
  EXPECT_NE(status.message().find("too slow"), std::string::npos) << status;
}

TEST(HttpPaceTest, BodyThatTricklesOnlyLaterIsTooSlowToo) {
  RawServer server(Trickle(kHead + std::string(500'000, 'x')));
  const auto client = HttpClient::Create({}).value();
  const auto taker = std::make_shared<Taker>();
  auto request = Get(server);
  request.low_speed_bytes = 10'000;
  request.low_speed_window = milliseconds(300);
  client->Start(request, taker);
  EXPECT_EQ(taker->Wait().code(), StatusCode::kDeadlineExceeded);
}

TEST(HttpPaceTest, FastEnoughBodyIsLeftAlone) {
  RawServer server([](int fd, const std::string&) {
    SendAll(fd, "HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n");
    for (int i = 0; i < 100; ++i) {
      ::poll(nullptr, 0, 10);
      SendAll(fd, std::string(1000, 'x'));
    }
  });
  auto request = Get(server);
  request.low_speed_bytes = 1000;  // one write of a hundred in all of their time
  request.low_speed_window = milliseconds(1000);
  const auto response = HttpClient::Create({}).value()->Fetch(request, kLimit);
  ASSERT_TRUE(response.ok()) << response.status();
  EXPECT_EQ(response->body.size(), 100'000u);
}

TEST(HttpPaceTest, PauseIsNotSlowness) {
  RawServer server(Trickle(kHead));
  const auto client = HttpClient::Create({}).value();
  const auto taker = std::make_shared<Taker>();
  taker->paused = true;
  auto request = Get(server);
  request.low_speed_bytes = 10'000;
  request.low_speed_window = milliseconds(200);
  const auto transfer = client->Start(request, taker);
  taker->WaitForPause();
  ::poll(nullptr, 0, 600);  // three windows
  EXPECT_FALSE(taker->done());
  taker->paused = false;
  transfer->Resume();
  EXPECT_EQ(taker->Wait().code(), StatusCode::kDeadlineExceeded);
}

TEST(HttpPaceTest, BodyThatBeganMayHaveAShorterPatience) {
  RawServer server([](int fd, const std::string&) {
    SendAll(fd, std::string(kHead) + "123");
    AwaitClose(fd);
  });
  const auto client = HttpClient::Create({}).value();
  const auto taker = std::make_shared<Taker>();
  auto request = Get(server);
  request.stall_timeout = std::chrono::minutes(5);
  request.body_stall_timeout = milliseconds(200);
  client->Start(request, taker);
  const Status status = taker->Wait();
  EXPECT_EQ(status.code(), StatusCode::kDeadlineExceeded) << status;
  EXPECT_NE(status.message().find("200 ms"), std::string::npos) << status;
}

}  // namespace
}  // namespace hearth::net
