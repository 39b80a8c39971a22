#include "cmd/admin_client.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>

#include <atomic>

#include "net/http_server.h"

namespace hearth::cmd {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

// Sends the chunks, then the end; without an end it waits for the client to go.
class Chunks final : public net::BodySource {
 public:
  Chunks(std::vector<std::string> chunks, bool ends) : chunks_(std::move(chunks)), ends_(ends) {}
  void Next(std::function<void(Result<net::BodyChunk>)> ready) override {
    if (at_ < chunks_.size()) {
      net::BodyChunk chunk;
      chunk.data = chunks_[at_++];
      return ready(std::move(chunk));
    }
    if (!ends_) {
      waiting_ = std::move(ready);
      return;
    }
    net::BodyChunk end;
    end.last = true;
    ready(std::move(end));
  }

 private:
  std::vector<std::string> chunks_;
  const bool ends_;
  size_t at_ = 0;
  std::function<void(Result<net::BodyChunk>)> waiting_;
};

class AdminClientTest : public testing::Test {
 protected:
  AdminClientTest() {
    char name[] = "/tmp/hearth-admin-XXXXXX";
    CHECK(mkdtemp(name) != nullptr);
    folder_ = name;
  }
  ~AdminClientTest() override {
    server_.reset();
    CHECK(RemoveTree(folder_).ok());
  }

  void Serve(std::function<net::ServerResponse(const net::ServerRequest&)> answer) {
    net::HttpServer::Options options;
    options.listen = "unix:" + (folder_ / "admin.sock").string();
    auto server = net::HttpServer::Start(
        options,
        [answer = std::move(answer)](net::ServerRequest request, net::HttpServer::Respond respond) {
          respond(answer(request));
        });
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = std::move(server).value();
  }
  std::unique_ptr<AdminClient> Client() {
    return std::move(AdminClient::Create(folder_ / "admin.sock")).value();
  }
  static net::ServerResponse Lines(std::vector<std::string> chunks, bool ends = true) {
    net::ServerResponse response;
    response.body = std::make_shared<Chunks>(std::move(chunks), ends);
    return response;
  }

  std::filesystem::path folder_;
  std::unique_ptr<net::HttpServer> server_;
};

TEST_F(AdminClientTest, CallGivesTheBody) {
  Serve([](const net::ServerRequest& request) {
    net::ServerResponse response;
    response.body = request.method + " " + request.target;
    return response;
  });
  const auto body = Client()->Call("GET", "/v1/explain?reference=a%3A1");
  ASSERT_TRUE(body.ok()) << body.status();
  EXPECT_EQ(*body, "GET /v1/explain?reference=a%3A1");
}

TEST_F(AdminClientTest, ErrorIsTheNodesOwn) {
  Serve([](const net::ServerRequest&) {
    net::ServerResponse response;
    response.status = 409;
    response.body = R"({"code":"failed_precondition","message":"blob in use"})";
    return response;
  });
  const auto body = Client()->Call("DELETE", "/v1/store/x");
  EXPECT_EQ(body.status(), FailedPrecondition("blob in use"));
}

TEST_F(AdminClientTest, MissingSocketSaysWhatToDo) {
  const auto body = Client()->Call("GET", "/v1/status");
  EXPECT_EQ(body.status().code(), StatusCode::kUnavailable);
  EXPECT_THAT(body.status().message(), HasSubstr((folder_ / "admin.sock").string()));
  EXPECT_THAT(body.status().message(), HasSubstr("hearth node"));
}

TEST_F(AdminClientTest, StreamCutsLinesWhereverChunksEnd) {
  Serve([](const net::ServerRequest& request) {
    return Lines({"on", "e\ntwo\n\nth", "ree\n" + request.body});
  });
  std::vector<std::string> lines;
  const Status status = Client()->Stream("/v1/preheat", "last", [&](std::string_view line) {
    lines.emplace_back(line);
    return OkStatus();
  });
  EXPECT_TRUE(status.ok()) << status;
  EXPECT_THAT(lines, ElementsAre("one", "two", "three", "last"));
}

TEST_F(AdminClientTest, ErrorOfALineEndsTheStream) {
  Serve([](const net::ServerRequest&) { return Lines({"one\n"}, false); });
  const Status status =
      Client()->Stream("/v1/preheat", "", [](std::string_view) { return Internal("enough"); });
  EXPECT_EQ(status, Internal("enough"));
}

TEST_F(AdminClientTest, StopEndsTheStreamAndTheNodeSeesIt) {
  std::atomic<bool> gone = false;
  std::stop_token client_gone;
  Serve([&](const net::ServerRequest& request) {
    client_gone = request.client_gone;
    return Lines({"one\n"}, false);
  });
  std::stop_source stop;
  const Status status = Client()->Stream(
      "/v1/preheat", "",
      [&](std::string_view) {
        stop.request_stop();
        return OkStatus();
      },
      stop.get_token());
  EXPECT_EQ(status.code(), StatusCode::kCancelled);
  const std::stop_callback note(client_gone, [&gone] {
    gone = true;
    gone.notify_all();
  });
  gone.wait(false);
}

TEST_F(AdminClientTest, DownloadAsksForTheRest) {
  Serve([](const net::ServerRequest& request) {
    net::ServerResponse response;
    response.status = 206;
    response.body = std::string(request.headers.Get("Range"));
    return response;
  });
  std::string got;
  const Status status = Client()->Download("/v1/blobs/sha256:x", 7, [&](std::string_view data) {
    got += data;
    return OkStatus();
  });
  EXPECT_TRUE(status.ok()) << status;
  EXPECT_EQ(got, "bytes=7-");
}

TEST(ErrorFromAnswer, FallsBackToTheHttpStatus) {
  EXPECT_EQ(ErrorFromAnswer(404, "oops").code(), StatusCode::kNotFound);
  EXPECT_EQ(ErrorFromAnswer(404, R"({"code":"odd","message":"m"})").code(), StatusCode::kNotFound);
  EXPECT_THAT(ErrorFromAnswer(503, "").message(), HasSubstr("503"));
}

}  // namespace
}  // namespace hearth::cmd
