// HttpServer's bounds, its stop, and where it listens.
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <string>
#include <vector>

#include "base/thread.h"
#include "net/http_client.h"
#include "net/http_server.h"
#include "net/raw_server_test.h"
#include "net/server_fixture_test.h"

namespace hearth::net {
namespace {

using std::chrono::milliseconds;

constexpr char kGet[] = "GET / HTTP/1.1\r\nHost: h\r\n\r\n";

void Hello(const ServerRequest&, const HttpServer::Respond& respond) { respond(Text("hello")); }

TEST(HttpServerLimitsTest, IdleConnectionsAreClosed) {
  auto options = Loopback();
  options.idle_timeout = milliseconds(500);
  const auto server = StartServer(Hello, options);
  for (const char* start :
       {"", "GET / HT", "PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\nx"}) {
    EXPECT_EQ(Say(*server, start), "") << start;
  }
  const std::string answer = Say(*server, kGet);  // kept alive, then closed
  EXPECT_TRUE(answer.ends_with("hello")) << answer;
}

TEST(HttpServerLimitsTest, ClientThatTakesNothingIsClosed) {
  auto options = Loopback();
  options.idle_timeout = milliseconds(500);
  Event gone;
  std::optional<std::stop_callback<std::function<void()>>> on_gone;
  const auto server = StartServer(
      [&](const ServerRequest& request, const auto& respond) {
        on_gone.emplace(request.client_gone, [&] { gone.Raise(); });
        respond(Text(std::string(64'000'000, 'x')));
      },
      options);
  const Fd fd = ConnectTo(PortOf(*server));
  SendAll(fd.get(), kGet);
  EXPECT_TRUE(gone.Wait());
}

TEST(HttpServerLimitsTest, SlowHandlerIsNotIdle) {
  auto options = Loopback();
  options.idle_timeout = milliseconds(500);
  const auto server = StartServer(
      [](const ServerRequest&, const auto& respond) {
        ::poll(nullptr, 0, 1500);
        respond(Text("late"));
      },
      options);
  EXPECT_EQ(Fetch(*server, "/").value().body, "late");
}

TEST(HttpServerLimitsTest, FullQueueIs503) {
  Event entered;
  Event release;
  auto options = Loopback();
  options.handler_threads = 1;
  options.handler_queue = 1;
  const auto server = StartServer(
      [&](const ServerRequest&, const auto& respond) {
        entered.Raise();
        release.Wait();
        respond(Text("done"));
      },
      options);
  const Fd running = ConnectTo(PortOf(*server));
  SendAll(running.get(), kGet);
  ASSERT_TRUE(entered.Wait());
  // One of these waits in the queue; which one is not known.
  const Fd one = ConnectTo(PortOf(*server));
  const Fd two = ConnectTo(PortOf(*server));
  SendAll(one.get(), kGet);
  SendAll(two.get(), kGet);
  pollfd ready[] = {{one.get(), POLLIN, 0}, {two.get(), POLLIN, 0}};
  ASSERT_EQ(::poll(ready, 2, 20'000), 1);
  const bool first = (ready[0].revents & POLLIN) != 0;
  EXPECT_TRUE(ReadUntil(first ? one.get() : two.get(), "\r\n").starts_with("HTTP/1.1 503 "));
  release.Raise();
  EXPECT_TRUE(ReadUntil(first ? two.get() : one.get(), "\r\n").starts_with("HTTP/1.1 200 "));
}

TEST(HttpServerLimitsTest, ConnectionsBeyondTheLimitWaitForABusyOne) {
  Event release;
  auto options = Loopback();
  options.max_connections = 2;
  const auto server = StartServer(
      [&](const ServerRequest&, const auto& respond) {
        release.Wait();
        respond(Text("hello"));
      },
      options);
  std::vector<Fd> open(3);
  for (auto& fd : open) {
    fd = ConnectTo(PortOf(*server));
    SendAll(fd.get(), kGet);
  }
  pollfd ready = {open[2].get(), POLLIN, 0};
  EXPECT_EQ(::poll(&ready, 1, 200), 0);
  release.Raise();
  for (auto& fd : open) {
    EXPECT_TRUE(ReadUntil(fd.get(), "hello").starts_with("HTTP/1.1 200 "));
    fd.Reset();
  }
}

TEST(HttpServerLimitsTest, UnusedConnectionsGiveWay) {
  auto options = Loopback();
  options.max_connections = 2;
  const auto server = StartServer(Hello, options);
  std::vector<Fd> open(5);
  for (auto& fd : open) {  // the earlier ones stay open, kept alive
    fd = ConnectTo(PortOf(*server));
    SendAll(fd.get(), kGet);
    EXPECT_TRUE(ReadUntil(fd.get(), "hello").starts_with("HTTP/1.1 200 "));
  }
}

TEST(HttpServerStopTest, RunningAnswersEndWithinTheGrace) {
  Event entered;
  Event release;
  const auto server = StartServer([&](const ServerRequest& request, const auto& respond) {
    entered.Raise();
    release.Wait();
    EXPECT_FALSE(request.client_gone.stop_requested());
    respond(Text("done"));
  });
  const Fd busy = ConnectTo(PortOf(*server));
  const Fd idle = ConnectTo(PortOf(*server));
  SendAll(busy.get(), kGet);
  ASSERT_TRUE(entered.Wait());
  std::thread stopper([&] { server->Stop(milliseconds(20'000)); });
  AwaitClose(idle.get());  // idle ones are closed at once
  release.Raise();
  const std::string answer = ReadToEnd(busy.get());
  EXPECT_TRUE(answer.ends_with("done")) << answer;
  EXPECT_NE(answer.find("Connection: close"), std::string::npos) << answer;
  ::shutdown(busy.get(), SHUT_WR);
  stopper.join();
  server->Stop(milliseconds(0));
}

TEST(HttpServerStopTest, WhatRunsLongerIsCutOff) {
  Event entered;
  HttpServer::Respond kept;
  std::stop_token gone;
  auto server = StartServer([&](const ServerRequest& request, const auto& respond) {
    kept = respond;
    gone = request.client_gone;
    entered.Raise();
  });
  const uint16_t port = PortOf(*server);
  const Fd fd = ConnectTo(port);
  SendAll(fd.get(), kGet);
  ASSERT_TRUE(entered.Wait());
  server->Stop(milliseconds(50));
  EXPECT_TRUE(gone.stop_requested());
  EXPECT_EQ(ReadToEnd(fd.get()), "");
  server.reset();
  kept(Text("much too late"));
  auto options = Loopback();
  options.listen = "127.0.0.1:" + std::to_string(port);
  EXPECT_EQ(Fetch(*StartServer(Hello, options), "/").value().body, "hello");
}

TEST(ListenTest, BadAddressesSayWhatIsWrong) {
  const std::pair<const char*, StatusCode> cases[] = {
      {"", StatusCode::kInvalidArgument},
      {"7733", StatusCode::kInvalidArgument},
      {":7733", StatusCode::kInvalidArgument},
      {"127.0.0.1:", StatusCode::kInvalidArgument},
      {"127.0.0.1:http", StatusCode::kInvalidArgument},
      {"unix:", StatusCode::kInvalidArgument},
      {"unix:/nowhere/at/all.sock", StatusCode::kNotFound},
  };
  for (const auto& [listen, code] : cases) {
    auto options = Loopback();
    options.listen = listen;
    EXPECT_EQ(HttpServer::Start(options, Hello).status().code(), code) << listen;
  }
  auto options = Loopback();
  options.listen = "unix:/tmp/" + std::string(120, 'x');
  EXPECT_EQ(HttpServer::Start(options, Hello).status().code(), StatusCode::kInvalidArgument);
}

TEST(ListenTest, PortInUseIsAlreadyExists) {
  const auto server = StartServer(Hello);
  auto options = Loopback();
  options.listen = server->address();
  EXPECT_EQ(HttpServer::Start(options, Hello).status().code(), StatusCode::kAlreadyExists);
}

TEST(ListenTest, UnixSocketHasItsModeAndReplacesADeadOne) {
  const Scratch scratch;
  auto options = Loopback();
  options.listen = "unix:" + (scratch / "s.sock").string();
  for (int life = 0; life < 2; ++life) {  // the second finds the socket of the first
    const auto server = StartServer(Hello, options);
    EXPECT_EQ(server->address(), options.listen);
    EXPECT_EQ(Fetch(*server, "/").value().body, "hello");
    struct stat info {};
    ASSERT_EQ(::stat((scratch / "s.sock").c_str(), &info), 0);
    EXPECT_EQ(info.st_mode & 07777, 0600U);
    const auto second = HttpServer::Start(options, Hello);
    EXPECT_EQ(second.status().code(), StatusCode::kAlreadyExists) << second.status();
    EXPECT_EQ(Fetch(*server, "/").value().body, "hello");
  }
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(scratch / ""), {}), 1);
}

TEST(ListenTest, UnixSocketDoesNotReplaceAFile) {
  const Scratch scratch;
  ASSERT_TRUE(WriteFileAtomically(scratch / "s.sock", "precious").ok());
  auto options = Loopback();
  options.listen = "unix:" + (scratch / "s.sock").string();
  EXPECT_EQ(HttpServer::Start(options, Hello).status().code(), StatusCode::kFailedPrecondition);
  EXPECT_EQ(ReadFile(scratch / "s.sock", 100).value(), "precious");
}

TEST(HttpServerTest, ManyClientsAtOnce) {
  auto options = Loopback();
  options.io_threads = 2;
  options.max_connections = 8;
  const auto server = StartServer(
      [](const ServerRequest& request, const auto& respond) { respond(Text(request.path)); },
      options);
  const auto client = HttpClient::Create({}).value();
  std::vector<std::thread> threads;
  for (int t = 0; t < 16; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 50; ++i) {
        HttpRequest request;
        const std::string path = "/" + std::to_string(t) + "/" + std::to_string(i);
        request.url = "http://" + server->address() + path;
        const auto response = client->Fetch(request, 1000);
        ASSERT_TRUE(response.ok()) << response.status();
        ASSERT_EQ(response.value().body, path);
      }
    });
  }
  for (auto& thread : threads) thread.join();
}

}  // namespace
}  // namespace hearth::net
