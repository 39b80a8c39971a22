#include "net/http_server.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <filesystem>
#include <string>
#include <vector>

#include "base/thread.h"
#include "net/http_client.h"
#include "net/listener.h"
#include "net/raw_server_test.h"
#include "net/server_fixture_test.h"

namespace hearth::net {
namespace {

// Answers with what it was asked.
void Echo(ServerRequest request, const HttpServer::Respond& respond) {
  auto response = Text(request.method + " " + request.path + "?" + request.query + " " +
                       std::string(request.headers.Get("x-in")) + " " + request.body);
  response.headers = {{"X-Out", "1"}};
  respond(std::move(response));
}

// Gives its chunks one by one, each from another thread.
class ListSource final : public BodySource {
 public:
  explicit ListSource(std::vector<Result<BodyChunk>> chunks) : chunks_(std::move(chunks)) {}
  ~ListSource() override {
    for (auto& thread : threads_) thread.join();
    if (dropped != nullptr) dropped->Raise();
  }
  void Next(std::function<void(Result<BodyChunk>)> ready) override {
    if (next_ == chunks_.size()) {
      asked_beyond_.push_back(std::move(ready));  // never answered
      return;
    }
    if (next_ % 2 == 0) return ready(chunks_[next_++]);
    auto chunk = chunks_[next_++];
    threads_.emplace_back([ready = std::move(ready), chunk] { ready(chunk); });
  }
  Event* dropped = nullptr;

 private:
  std::vector<Result<BodyChunk>> chunks_;
  size_t next_ = 0;
  std::vector<std::thread> threads_;
  std::vector<std::function<void(Result<BodyChunk>)>> asked_beyond_;
};

BodyChunk Data(std::string data, bool last = false) {
  BodyChunk chunk;
  chunk.data = std::move(data);
  chunk.last = last;
  return chunk;
}

BodyChunk FilePart(const std::shared_ptr<const Fd>& file, uint64_t offset, uint64_t size,
                   bool last = false) {
  BodyChunk chunk;
  chunk.file = file;
  chunk.offset_bytes = offset;
  chunk.size_bytes = size;
  chunk.last = last;
  return chunk;
}

HttpServer::Handler Stream(std::vector<Result<BodyChunk>> chunks,
                           std::optional<uint64_t> length = std::nullopt) {
  return [chunks, length](const ServerRequest&, const HttpServer::Respond& respond) {
    ServerResponse response;
    response.body = std::make_shared<ListSource>(chunks);
    response.content_length = length;
    respond(std::move(response));
  };
}

TEST(HttpServerTest, AnswersWhatTheHandlerSays) {
  const auto server = StartServer(Echo);
  const auto response = Fetch(*server, "/a%20b?c=d&e", "POST", "body");
  ASSERT_TRUE(response.ok()) << response.status();
  EXPECT_EQ(response.value().status, 200);
  EXPECT_EQ(response.value().body, "POST /a%20b?c=d&e in body");
  EXPECT_EQ(response.value().headers.Get("X-Out"), "1");
  EXPECT_TRUE(response.value().headers.Get("Date").ends_with(" GMT"));
}

TEST(HttpServerTest, TellsTheHandlerWhoAsks) {
  for (const auto& [listen, remote] :
       {std::pair{"127.0.0.1:0", "127.0.0.1"}, {"[::1]:0", "::1"}, {"[::]:0", "127.0.0.1"}}) {
    HttpServer::Options options;
    options.listen = listen;
    // Some containers have no IPv6.
    const bool v6 = std::string_view(listen).starts_with('[');
    if (v6 && !Listen("[::1]:0", 0600).ok()) continue;
    const auto server = StartServer(
        [](const ServerRequest& request, const auto& respond) { respond(Text(request.remote)); },
        options);
    HttpRequest request;
    request.url = "http://";
    request.url += std::string(listen).starts_with("[::1]") ? "[::1]" : "127.0.0.1";
    request.url += ":" + std::to_string(PortOf(*server)) + "/";
    const auto client = HttpClient::Create({});
    ASSERT_TRUE(client.ok());
    const auto response = (*client)->Fetch(request, kFetchLimit);
    ASSERT_TRUE(response.ok()) << response.status();
    EXPECT_EQ(response->body, remote) << listen;
  }
}

TEST(HttpServerTest, HeadHasTheLengthAndNoBody) {
  const auto server = StartServer([](const ServerRequest& request, const auto& respond) {
    auto response = Text("");
    if (request.path == "/known") response.content_length = 123456;
    if (request.path == "/text") response = Text("hello");
    if (request.path == "/source")
      response.body = std::make_shared<ListSource>(std::vector<Result<BodyChunk>>{Data("x", true)});
    respond(std::move(response));
  });
  EXPECT_EQ(Fetch(*server, "/known", "HEAD").value().headers.Get("Content-Length"), "123456");
  EXPECT_EQ(Fetch(*server, "/text", "HEAD").value().headers.Get("Content-Length"), "5");
  EXPECT_EQ(Fetch(*server, "/source", "HEAD").value().body, "");
  const std::string twice = Say(*server,
                                "HEAD /text HTTP/1.1\r\nHost: h\r\n\r\n"
                                "GET /text HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
  EXPECT_EQ(twice.find("hello"), twice.size() - 5) << twice;
}

TEST(HttpServerTest, PipelinedRequestsAreAnsweredInOrder) {
  const auto server = StartServer(Echo);
  std::string requests;
  for (int i = 0; i < 50; ++i) {
    requests += "PUT /" + std::to_string(i) + " HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n" +
                (i == 49 ? "Connection: close\r\n" : "") + "\r\nb";
  }
  const std::string answers = Say(*server, requests);
  size_t at = 0;
  for (int i = 0; i < 50; ++i) {
    at = answers.find("PUT /" + std::to_string(i) + "?  b", at);
    ASSERT_NE(at, std::string::npos) << i << answers;
  }
}

TEST(HttpServerTest, UglyRequestsGetTheirStatus) {
  auto options = Loopback();
  options.max_header_bytes = 1000;
  options.max_body_bytes = 100;
  const auto server = StartServer(Echo, options);
  const std::string host = "\r\nHost: h\r\n";
  const std::pair<std::string, std::string> cases[] = {
      {"GARBAGE\r\n\r\n", "400"},
      {"\x16\x03\x01\x02\r\n\r\n", "400"},
      {"GET / HTTP/7.0" + host + "\r\n", "400"},
      {"GET / HTTP/1.1\r\n\r\n", "400"},
      {"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", "400"},
      {"GET / HTTP/1.1" + host + "Bad Name: x\r\n\r\n", "400"},
      {"PUT / HTTP/1.1" + host + "Content-Length: x\r\n\r\n", "400"},
      {"PUT / HTTP/1.1" + host + "Content-Length: 1\r\nContent-Length: 2\r\n\r\n", "400"},
      {"PUT / HTTP/1.1" + host + "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", "400"},
      {"PUT / HTTP/1.1" + host + "Transfer-Encoding: chunked\r\n\r\nzz\r\n", "400"},
      {"GET / HTTP/1.1" + host + "X: " + std::string(2000, 'x') + "\r\n\r\n", "431"},
      {"GET /" + std::string(100000, 'x') + " HTTP/1.1" + host + "\r\n", "431"},
      {"PUT / HTTP/1.1" + host + "Content-Length: 101\r\n\r\n" + std::string(101, 'b'), "413"},
      {"PUT / HTTP/1.1" + host + "Content-Length: 101\r\nExpect: 100-continue\r\n\r\n", "413"},
      {"PUT / HTTP/1.1" + host + "Transfer-Encoding: chunked\r\n\r\n70\r\n" +
           std::string(0x70, 'b') + "\r\n0\r\n\r\n",
       "413"},
      {"PUT / HTTP/1.1" + host + "Content-Length: 1\r\nExpect: magic\r\n\r\n", "417"},
  };
  for (const auto& [request, status] : cases) {
    const std::string answer = Say(*server, request);
    EXPECT_TRUE(answer.starts_with("HTTP/1.1 " + status + " ")) << request << "\n" << answer;
    EXPECT_NE(answer.find("Connection: close"), std::string::npos) << answer;
  }
  EXPECT_EQ(Fetch(*server, "/", "PUT", std::string(100, 'b')).value().status, 200);
}

TEST(HttpServerTest, ContinueIsSaidOnceBeforeTheBody) {
  const auto server = StartServer(Echo);
  const Fd fd = ConnectTo(PortOf(*server));
  SendAll(fd.get(),
          "PUT / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nConnection: close\r\n"
          "Content-Length: 4\r\n\r\n");
  EXPECT_EQ(ReadUntil(fd.get(), "\r\n\r\n"), "HTTP/1.1 100 Continue\r\n\r\n");
  SendAll(fd.get(), "body");
  const std::string answer = ReadToEnd(fd.get());
  EXPECT_TRUE(answer.starts_with("HTTP/1.1 200 OK\r\n")) << answer;
  EXPECT_TRUE(answer.ends_with("body")) << answer;
}

TEST(HttpServerTest, OldClientsGetNoChunks) {
  const auto server = StartServer(Stream({Data("ab"), Data("cd", true)}));
  const std::string answer = Say(*server, "GET / HTTP/1.0\r\n\r\n");
  EXPECT_TRUE(answer.ends_with("\r\n\r\nabcd")) << answer;
  EXPECT_EQ(answer.find("chunked"), std::string::npos) << answer;
}

TEST(HttpServerTest, StreamsChunksAndFileParts) {
  const Scratch scratch;
  std::string content(20'000'000, 0);
  for (size_t i = 0; i < content.size(); ++i) content[i] = static_cast<char>(i * i >> 7);
  ASSERT_TRUE(WriteFileAtomically(scratch / "blob", content).ok());
  const auto file =
      std::make_shared<const Fd>(OpenFile(scratch / "blob", O_RDONLY).value().Release());
  const std::vector<Result<BodyChunk>> chunks = {
      Data("head "), FilePart(file, 5, 100), Data(""),      FilePart(file, 0, content.size()),
      Data("tail"),  FilePart(file, 7, 0),   Data("", true)};
  const std::string want = "head " + content.substr(5, 100) + content + "tail";
  for (const auto& length : {std::optional<uint64_t>(), std::optional<uint64_t>(want.size())}) {
    const auto server = StartServer(Stream(chunks, length));
    for (int i = 0; i < 2; ++i) {
      const auto response = Fetch(*server, "/");
      ASSERT_TRUE(response.ok()) << response.status();
      EXPECT_TRUE(response.value().body == want);
      EXPECT_EQ(response.value().headers.Has("Content-Length"), length.has_value());
    }
  }
}

TEST(HttpServerTest, BrokenBodiesLookTruncated) {
  const Scratch scratch;
  ASSERT_TRUE(WriteFileAtomically(scratch / "short", "12345").ok());
  const auto file =
      std::make_shared<const Fd>(OpenFile(scratch / "short", O_RDONLY).value().Release());
  const std::pair<const char*, HttpServer::Handler> cases[] = {
      {"error, length", Stream({Data("abc"), Result<BodyChunk>(DataLoss("bad"))}, 10)},
      {"error, chunked", Stream({Data("abc"), Result<BodyChunk>(DataLoss("bad"))})},
      {"too short", Stream({Data("abc", true)}, 10)},
      {"too long", Stream({Data("abc"), Data("defg", true)}, 5)},
      {"file ends early", Stream({FilePart(file, 0, 10, true)}, 10)},
      {"dropped callback",
       [](const ServerRequest&, const HttpServer::Respond& respond) {
         class Dropper final : public BodySource {
           void Next(std::function<void(Result<BodyChunk>)>) override {}
         };
         ServerResponse response;
         response.body = std::make_shared<Dropper>();
         respond(std::move(response));
       }},
  };
  for (const auto& [name, handler] : cases) {
    const auto server = StartServer(handler);
    EXPECT_EQ(Fetch(*server, "/").status().code(), StatusCode::kUnavailable) << name;
  }
}

TEST(HttpServerTest, RespondDroppedOrHandlerThrowingIs500) {
  const auto server = StartServer([](const ServerRequest& request, const auto&) {
    if (request.path == "/throw") throw std::runtime_error("boom");
  });
  EXPECT_EQ(Fetch(*server, "/drop").value().status, 500);
  EXPECT_EQ(Fetch(*server, "/throw").value().status, 500);
}

TEST(HttpServerTest, ClientThatLeavesIsNoticed) {
  Event asked;
  Event gone;
  std::optional<std::stop_callback<std::function<void()>>> on_gone;
  HttpServer::Respond kept;
  const auto server = StartServer([&](const ServerRequest& request, const auto& respond) {
    kept = respond;
    on_gone.emplace(request.client_gone, [&] { gone.Raise(); });
    asked.Raise();
  });
  {
    const Fd fd = ConnectTo(PortOf(*server));
    SendAll(fd.get(), "GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    ASSERT_TRUE(asked.Wait());
  }
  EXPECT_TRUE(gone.Wait());
  kept(Text("too late"));
  kept(Text("twice"));
}

TEST(HttpServerTest, SourceIsDroppedWhenTheClientLeaves) {
  Event dropped;
  const auto server = StartServer([&](const ServerRequest&, const auto& respond) {
    auto source = std::make_shared<ListSource>(std::vector<Result<BodyChunk>>{Data("abc")});
    source->dropped = &dropped;
    ServerResponse response;
    response.body = std::move(source);
    respond(std::move(response));
  });
  {
    const Fd fd = ConnectTo(PortOf(*server));
    SendAll(fd.get(), "GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    ReadUntil(fd.get(), "abc\r\n");
  }
  EXPECT_TRUE(dropped.Wait());
}

}  // namespace
}  // namespace hearth::net
