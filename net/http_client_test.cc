#include "net/http_client.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <optional>
#include <string>
#include <vector>

#include "base/thread.h"
#include "net/raw_server_test.h"

namespace hearth::net {
namespace {

using std::chrono::milliseconds;

constexpr uint64_t kLimit = 1024 * 1024;

std::unique_ptr<HttpClient> MakeClient(HttpClient::Options options = {}) {
  return HttpClient::Create(std::move(options)).value();
}

HttpRequest Get(std::string url) {
  HttpRequest request;
  request.url = std::move(url);
  return request;
}

// Answers every connection once with `answer` and closes.
RawServer::Serve Answer(std::string answer) {
  return [answer = std::move(answer)](int fd, const std::string&) { SendAll(fd, answer); };
}

// Records what a transfer says; tests wait for its end.
class Recorder : public HttpTransferHandler {
 public:
  Status OnHead(const HttpResponseHead& head) override {
    MutexLock lock(mutex_);
    head_ = head;
    changed_.NotifyAll();
    return on_head;
  }
  Result<Flow> OnData(std::string_view data) override {
    MutexLock lock(mutex_);
    ++calls_;
    changed_.NotifyAll();
    if (pause_always || (pause_each_second && calls_ % 2 == 1)) return Flow::kPause;
    bytes_ += data.size();
    return Flow::kGoOn;
  }
  void OnDone(const Status& status) override {
    MutexLock lock(mutex_);
    EXPECT_FALSE(done_) << "OnDone came twice";
    done_ = status;
    changed_.NotifyAll();
  }

  Status Wait() {
    MutexLock lock(mutex_);
    while (!done_) changed_.Wait(mutex_);
    return *done_;
  }
  // Until OnData was called more than `calls` times; the number of calls.
  int WaitForData(int calls) {
    MutexLock lock(mutex_);
    while (calls_ <= calls && !done_) changed_.Wait(mutex_);
    return calls_;
  }
  int WaitForHead() {
    MutexLock lock(mutex_);
    while (!head_ && !done_) changed_.Wait(mutex_);
    return head_ ? head_->status : 0;
  }
  bool done() {
    MutexLock lock(mutex_);
    return done_.has_value();
  }
  uint64_t bytes() {
    MutexLock lock(mutex_);
    return bytes_;
  }

  Status on_head;
  std::atomic<bool> pause_always = false;
  bool pause_each_second = false;

 private:
  Mutex mutex_;
  CondVar changed_;
  std::optional<HttpResponseHead> head_;
  std::optional<Status> done_;
  int calls_ = 0;
  uint64_t bytes_ = 0;
};

TEST(HttpClientTest, GetsAnAnswer) {
  RawServer server([](int fd, const std::string& request) {
    EXPECT_TRUE(request.starts_with("GET /a?b=c HTTP/1.1\r\n")) << request;
    EXPECT_NE(request.find("X-One: 1\r\n"), std::string::npos) << request;
    EXPECT_NE(request.find("X-Empty:\r\n"), std::string::npos) << request;
    EXPECT_EQ(request.find("Accept-Encoding"), std::string::npos) << request;
    SendAll(fd,
            "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"
            "HTTP/1.1 404 Nope\r\nX-Two:  2 \r\nContent-Length: 5\r\n\r\nhello");
  });
  auto request = Get(server.Url("/a?b=c"));
  request.headers = {{"X-One", "1"}, {"X-Empty", ""}};
  const auto response = MakeClient()->Fetch(request, kLimit);
  ASSERT_TRUE(response.ok()) << response.status();
  EXPECT_EQ(response.value().status, 404);
  EXPECT_EQ(response.value().headers.Get("x-two"), "2");
  EXPECT_FALSE(response.value().headers.Has("Link"));
  EXPECT_EQ(response.value().body, "hello");
  EXPECT_EQ(response.value().effective_url, server.Url("/a?b=c"));
}

TEST(HttpClientTest, SendsBodiesWithoutInventedHeaders) {
  RawServer server([](int fd, const std::string& request) {
    EXPECT_TRUE(request.starts_with("PUT / HTTP/1.1\r\n")) << request;
    EXPECT_EQ(request.find("Expect"), std::string::npos) << request;
    EXPECT_EQ(request.find("Content-Type"), std::string::npos) << request;
    EXPECT_NE(request.find("Content-Length: 2000000\r\n"), std::string::npos) << request;
    std::string body(2000000, 0);
    EXPECT_EQ(::recv(fd, body.data(), body.size(), MSG_WAITALL), 2000000);
    EXPECT_EQ(body, std::string(2000000, 'x'));
    SendAll(fd, "HTTP/1.1 204 No Content\r\n\r\n");
  });
  auto request = Get(server.Url());
  request.method = "PUT";
  request.body = std::string(2000000, 'x');
  EXPECT_EQ(MakeClient()->Fetch(request, kLimit).value().status, 204);
}

TEST(HttpClientTest, HeadHasNoBody) {
  RawServer server(Answer("HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n"));
  auto request = Get(server.Url());
  request.method = "HEAD";
  const auto response = MakeClient()->Fetch(request, kLimit);
  ASSERT_TRUE(response.ok()) << response.status();
  EXPECT_EQ(response.value().headers.Get("Content-Length"), "99999999999");
}

TEST(HttpClientTest, UglyAnswersAreUnavailable) {
  const std::pair<const char*, std::string> cases[] = {
      {"closed at once", ""},
      {"truncated head", "HTTP/1.1 200 OK\r\nContent-Le"},
      {"truncated body", "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n123"},
      {"truncated chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab"},
      {"no last chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n"},
      {"bad chunk size", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nab\r\n"},
      {"garbage", "\x16\x03\x01garbage\r\n\r\n"},
      {"HTTP/0.9", "<html>hello</html>"},
      {"endless header", "HTTP/1.1 200 OK\r\n" +
                             [] {
                               std::string fields;
                               for (int i = 0; i < 9000; ++i)
                                 fields += "X-Padding: 0123456789012345678901234\r\n";
                               return fields;
                             }() +
                             "\r\n"},
  };
  const auto client = MakeClient();
  for (const auto& [name, answer] : cases) {
    RawServer server(Answer(answer));
    const auto response = client->Fetch(Get(server.Url("/x?secret=1")), kLimit);
    EXPECT_EQ(response.status().code(), StatusCode::kUnavailable) << name;
    EXPECT_NE(response.status().message().find("/x"), std::string::npos) << response.status();
    EXPECT_EQ(response.status().message().find("secret"), std::string::npos) << response.status();
  }
  uint16_t free_port = 0;
  { free_port = RawServer(Answer("")).port(); }
  const std::string url = "http://127.0.0.1:" + std::to_string(free_port);
  EXPECT_EQ(client->Fetch(Get(url), kLimit).status().code(), StatusCode::kUnavailable);
}

TEST(HttpClientTest, BadRequestsAreRefusedBeforeAnythingIsSent) {
  const auto client = MakeClient();
  for (const char* url : {"", "x", "ftp://h/", "file:///etc/passwd", "http://", "http://a b/"}) {
    EXPECT_EQ(client->Fetch(Get(url), kLimit).status().code(), StatusCode::kInvalidArgument) << url;
  }
  auto request = Get("http://127.0.0.1:1/");
  request.headers = {{"X", "a\r\nEvil: 1"}};
  EXPECT_EQ(client->Fetch(request, kLimit).status().code(), StatusCode::kInvalidArgument);
  request.headers = {{"Evil:x", "a"}};
  EXPECT_EQ(client->Fetch(request, kLimit).status().code(), StatusCode::kInvalidArgument);
}

TEST(HttpClientTest, BodyOverTheLimitIsResourceExhausted) {
  RawServer announced(Answer("HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\n01234567890"));
  RawServer chunked(
      Answer("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nb\r\n01234567890\r\n0\r\n\r\n"));
  const auto client = MakeClient();
  for (const RawServer* server : {&announced, &chunked}) {
    EXPECT_EQ(client->Fetch(Get(server->Url()), 10).status().code(),
              StatusCode::kResourceExhausted);
    EXPECT_EQ(client->Fetch(Get(server->Url()), 11).value().body, "01234567890");
  }
}

TEST(HttpClientTest, SilenceAtEveryStageHasAnEnd) {
  const std::string head = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n";
  const auto client = MakeClient();
  for (const std::string& start : {std::string(), head.substr(0, 20), head, head + "123"}) {
    RawServer server([&](int fd, const std::string&) {
      SendAll(fd, start);
      AwaitClose(fd);
    });
    auto request = Get(server.Url());
    request.stall_timeout = milliseconds(100);
    const auto began = std::chrono::steady_clock::now();
    const auto status = client->Fetch(request, kLimit).status();
    const auto took = std::chrono::steady_clock::now() - began;
    EXPECT_EQ(status.code(), StatusCode::kDeadlineExceeded) << status;
    EXPECT_NE(status.message().find("100 ms"), std::string::npos) << status;
    EXPECT_GE(took, milliseconds(100));
    EXPECT_LT(took, milliseconds(5000));
  }
}

TEST(HttpClientTest, SlowButSteadyIsNotAStall) {
  RawServer server([](int fd, const std::string&) {
    SendAll(fd, "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n");
    for (int i = 0; i < 6; ++i) {
      ::poll(nullptr, 0, 100);
      SendAll(fd, "x");
    }
  });
  auto request = Get(server.Url());
  request.stall_timeout = milliseconds(2000);
  EXPECT_EQ(MakeClient()->Fetch(request, kLimit).value().body, "xxxxxx");
}

TEST(HttpClientTest, PausedTransferIsNotStalledButAResumedOneIs) {
  RawServer server([](int fd, const std::string&) {
    SendAll(fd, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n123");
    AwaitClose(fd);
  });
  const auto client = MakeClient();
  const auto recorder = std::make_shared<Recorder>();
  recorder->pause_always = true;
  auto request = Get(server.Url());
  request.stall_timeout = milliseconds(2000);
  const auto transfer = client->Start(request, recorder);
  ASSERT_EQ(recorder->WaitForData(0), 1);
  ::poll(nullptr, 0, 3500);  // long past the stall timeout
  EXPECT_FALSE(recorder->done());
  recorder->pause_always = false;
  transfer->Resume();
  EXPECT_EQ(recorder->Wait().code(), StatusCode::kDeadlineExceeded);
  EXPECT_EQ(recorder->bytes(), 3U);
}

TEST(HttpClientTest, LargeBodyWithPausesArrivesWhole) {
  constexpr uint64_t kBytes = 100'000'000;
  RawServer server([&](int fd, const std::string&) {
    SendAll(fd, "HTTP/1.1 200 OK\r\nContent-Length: " + std::to_string(kBytes) + "\r\n\r\n");
    const std::string block(1'000'000, 'x');
    for (uint64_t sent = 0; sent < kBytes; sent += block.size()) SendAll(fd, block);
  });
  const auto client = MakeClient();
  const auto recorder = std::make_shared<Recorder>();
  recorder->pause_each_second = true;
  const auto transfer = client->Start(Get(server.Url()), recorder);
  int calls = 0;
  while (!recorder->done()) {
    calls = recorder->WaitForData(calls);
    transfer->Resume();
  }
  EXPECT_TRUE(recorder->Wait().ok()) << recorder->Wait();
  EXPECT_EQ(recorder->bytes(), kBytes);
  EXPECT_GT(calls, 100);
}

TEST(HttpClientTest, CancelEndsATransferInEveryState) {
  RawServer silent([](int fd, const std::string&) {
    SendAll(fd, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n123");
    AwaitClose(fd);
  });
  HttpClient::Options options;
  options.max_connections = 2;
  const auto client = MakeClient(options);
  const auto running = std::make_shared<Recorder>();
  const auto paused = std::make_shared<Recorder>();
  const auto waiting = std::make_shared<Recorder>();
  paused->pause_always = true;
  const auto first = client->Start(Get(silent.Url()), running);
  const auto second = client->Start(Get(silent.Url()), paused);
  ASSERT_EQ(running->WaitForData(0), 1);
  ASSERT_EQ(paused->WaitForData(0), 1);
  const auto third = client->Start(Get(silent.Url()), waiting);
  for (const auto& transfer : {third, second, first}) transfer->Cancel();
  for (const auto& recorder : {running, paused, waiting}) {
    EXPECT_EQ(recorder->Wait().code(), StatusCode::kCancelled);
  }
  EXPECT_EQ(silent.accepted(), 2);
  first->Cancel();  // after the end: nothing
  first->Resume();
}

TEST(HttpClientTest, StopTokenEndsAFetch) {
  std::stop_source stop;
  RawServer server([&](int fd, const std::string&) {
    stop.request_stop();
    AwaitClose(fd);
  });
  const auto response = MakeClient()->Fetch(Get(server.Url()), kLimit, stop.get_token());
  EXPECT_EQ(response.status().code(), StatusCode::kCancelled);
}

TEST(HttpClientTest, TransferBeyondTheConnectionsWaitsForItsTurn) {
  RawServer server(Answer("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"));
  HttpClient::Options options;
  options.max_connections = 1;
  const auto client = MakeClient(options);
  std::vector<std::shared_ptr<Recorder>> recorders(20);
  for (auto& recorder : recorders) {
    recorder = std::make_shared<Recorder>();
    client->Start(Get(server.Url()), recorder);
  }
  for (const auto& recorder : recorders) EXPECT_TRUE(recorder->Wait().ok()) << recorder->Wait();
}

TEST(HttpClientTest, WaitingTransferStartsWhenAStalledOneEnds) {
  RawServer silent([](int fd, const std::string&) { AwaitClose(fd); });
  RawServer good(Answer("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"));
  HttpClient::Options options;
  options.max_connections = 1;
  const auto client = MakeClient(options);
  const auto stalled = std::make_shared<Recorder>();
  auto request = Get(silent.Url());
  request.stall_timeout = milliseconds(100);
  client->Start(request, stalled);
  EXPECT_EQ(client->Fetch(Get(good.Url()), kLimit).value().body, "ok");
  EXPECT_EQ(stalled->Wait().code(), StatusCode::kDeadlineExceeded);
}

TEST(HttpClientTest, HandlerErrorsEndTheTransferWithThatStatus) {
  RawServer server(Answer("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"));
  const auto client = MakeClient();
  const auto recorder = std::make_shared<Recorder>();
  recorder->on_head = DataLoss("not mine");
  client->Start(Get(server.Url()), recorder);
  EXPECT_EQ(recorder->Wait(), DataLoss("not mine"));
  EXPECT_EQ(recorder->bytes(), 0U);
}

TEST(HttpClientTest, DestructorCancelsWhatStillRuns) {
  RawServer silent([](int fd, const std::string&) { AwaitClose(fd); });
  const auto recorder = std::make_shared<Recorder>();
  std::shared_ptr<HttpTransfer> transfer;
  {
    const auto client = MakeClient();
    transfer = client->Start(Get(silent.Url()), recorder);
  }
  EXPECT_EQ(recorder->Wait().code(), StatusCode::kCancelled);
  transfer->Cancel();  // a handle may outlive the client
}

TEST(HttpClientTest, ConnectionIsReused) {
  RawServer server([](int fd, const std::string&) {
    do {
      SendAll(fd, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    } while (!ReadUntil(fd, "\r\n\r\n").empty());
  });
  const auto client = MakeClient();
  for (int i = 0; i < 5; ++i) EXPECT_TRUE(client->Fetch(Get(server.Url()), kLimit).ok());
  EXPECT_EQ(server.accepted(), 1);
}

TEST(HttpClientTest, FreshConnectionIsNeitherTakenFromTheOthersNorLeftToThem) {
  RawServer server([](int fd, const std::string&) {
    do {
      SendAll(fd, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    } while (!ReadUntil(fd, "\r\n\r\n").empty());
  });
  const auto client = MakeClient();
  auto fresh = Get(server.Url());
  fresh.fresh_connection = true;
  EXPECT_TRUE(client->Fetch(fresh, kLimit).ok());
  EXPECT_TRUE(client->Fetch(Get(server.Url()), kLimit).ok());
  EXPECT_EQ(server.accepted(), 2);
  EXPECT_TRUE(client->Fetch(fresh, kLimit).ok());
  EXPECT_EQ(server.accepted(), 3);
}

}  // namespace
}  // namespace hearth::net
