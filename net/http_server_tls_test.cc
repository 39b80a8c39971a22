// HttpServer and HttpClient under TLS with certificates on both sides.
#include <fcntl.h>
#include <gtest/gtest.h>

#include <atomic>
#include <fstream>
#include <numeric>

#include "net/certificate.h"
#include "net/server_fixture_test.h"

namespace hearth::net {
namespace {

class Ca {
 public:
  std::string pem() const { return certificate_.ToPem(); }
  // A leaf for the node, issued at `now` for an hour.
  std::shared_ptr<const TlsIdentity> Issue(const std::string& id,
                                           WallTime now = RealClock().WallNow()) const {
    const PrivateKey key = PrivateKey::Generate();
    const auto request = SigningRequest::FromPem(SigningRequest::MakePem(key));
    Certificate::Subject subject;
    subject.identity = {Role::kNode, "lab", id};
    subject.common_name = id;
    subject.life = std::chrono::hours(1);
    const auto leaf = certificate_.Issue(key_, *request, subject, now);
    EXPECT_TRUE(leaf.ok()) << leaf.status();
    return std::make_shared<const TlsIdentity>(
        TlsIdentity{leaf->ToPem() + pem(), key.ToPem().Reveal(), pem()});
  }

 private:
  const PrivateKey key_ = PrivateKey::Generate();
  const Certificate certificate_ = Certificate::MakeAuthority(
      key_, "lab CA", RealClock().WallNow() - std::chrono::hours(48), std::chrono::hours(96));
};

HttpServer::Options Tls(std::shared_ptr<const TlsIdentity> identity) {
  HttpServer::Options options = Loopback();
  options.tls = [identity] { return identity; };
  return options;
}

// Asks `server`, which is expected to be `peer_uri`, for `target`.
Result<HttpResponse> Ask(HttpClient& client, const HttpServer& server,
                         std::shared_ptr<const TlsIdentity> own, const std::string& peer_uri,
                         const std::string& target = "/") {
  HttpRequest request;
  request.url = "https://node-a.peer" + target;
  request.connect_to = server.address();
  request.tls = std::move(own);
  request.peer_uri = peer_uri;
  return client.Fetch(request, kFetchLimit);
}

class ServerTlsTest : public testing::Test {
 protected:
  Ca ca_;
  const std::shared_ptr<const TlsIdentity> a_ = ca_.Issue("a");
  const std::shared_ptr<const TlsIdentity> b_ = ca_.Issue("b");
  const std::unique_ptr<HttpClient> client_ = HttpClient::Create({}).value();
};

TEST_F(ServerTlsTest, BothSidesKnowWhoTheOtherIs) {
  const auto server = StartServer(
      [](ServerRequest request, const HttpServer::Respond& respond) {
        ASSERT_TRUE(request.peer);
        respond(Text(request.peer->uris.at(0)));
      },
      Tls(a_));
  const auto answer = Ask(*client_, *server, b_, "hearth://lab/node/a");
  ASSERT_TRUE(answer.ok()) << answer.status();
  EXPECT_EQ(answer->body, "hearth://lab/node/b");
}

TEST_F(ServerTlsTest, ServerOfAnotherNameGetsNoRequest) {
  std::atomic<int> requests = 0;
  const auto server = StartServer(
      [&](const ServerRequest&, const HttpServer::Respond& respond) {
        ++requests;
        respond(Text("x"));
      },
      Tls(a_));
  EXPECT_EQ(Ask(*client_, *server, b_, "hearth://lab/node/c").status().code(),
            StatusCode::kUnavailable);
  EXPECT_EQ(requests, 0);
}

TEST_F(ServerTlsTest, ForeignExpiredAndMissingCertificatesAreRefused) {
  std::atomic<int> requests = 0;
  const auto server = StartServer(
      [&](const ServerRequest&, const HttpServer::Respond& respond) {
        ++requests;
        respond(Text("x"));
      },
      Tls(a_));
  const Ca foreign;
  auto stranger = std::make_shared<TlsIdentity>(*foreign.Issue("b"));
  stranger->ca_pem = ca_.pem();
  EXPECT_FALSE(Ask(*client_, *server, stranger, "hearth://lab/node/a").ok());
  EXPECT_FALSE(Ask(*client_, *server, ca_.Issue("b", RealClock().WallNow() - std::chrono::hours(5)),
                   "hearth://lab/node/a")
                   .ok());
  HttpRequest plain;
  plain.url = "http://" + server->address() + "/";
  EXPECT_FALSE(client_->Fetch(plain, kFetchLimit).ok());
  const Scratch scratch;
  std::ofstream(scratch / "ca.pem") << ca_.pem();
  HttpRequest anonymous;
  anonymous.url = "https://" + server->address() + "/";
  anonymous.ca_file = scratch / "ca.pem";
  EXPECT_FALSE(client_->Fetch(anonymous, kFetchLimit).ok());
  EXPECT_EQ(requests, 0);
  const auto foreign_server = StartServer(
      [&](const ServerRequest&, const HttpServer::Respond& respond) {
        ++requests;
        respond(Text("x"));
      },
      Tls(foreign.Issue("a")));
  EXPECT_FALSE(Ask(*client_, *foreign_server, b_, "hearth://lab/node/a").ok());
  EXPECT_EQ(requests, 0);
}

// A file of several chunks, the last of odd size; then a small answer on the same connection.
class FileBody final : public BodySource {
 public:
  FileBody(std::shared_ptr<const Fd> file, uint64_t size) : file_(std::move(file)), size_(size) {}
  void Next(std::function<void(Result<BodyChunk>)> ready) override {
    BodyChunk chunk;
    chunk.file = file_;
    chunk.size_bytes = size_;
    chunk.last = true;
    ready(std::move(chunk));
  }

 private:
  const std::shared_ptr<const Fd> file_;
  const uint64_t size_;
};

TEST_F(ServerTlsTest, FileGoesOutWholeAndTheConnectionIsKept) {
  const Scratch scratch;
  std::string bytes(3 * HttpServer::kTlsChunkBytes + 12'345, '\0');
  std::iota(bytes.begin(), bytes.end(), '\0');
  std::ofstream(scratch / "file") << bytes;
  const auto file = std::make_shared<const Fd>(*OpenFile(scratch / "file", O_RDONLY));
  std::atomic<int> handshakes = 0;
  HttpServer::Options options = Loopback();
  options.tls = [&] {
    ++handshakes;
    return a_;
  };
  const auto server = StartServer(
      [&](const ServerRequest& request, const HttpServer::Respond& respond) {
        if (request.path == "/small") return respond(Text("small"));
        ServerResponse response;
        response.content_length = bytes.size();
        response.body = std::make_shared<FileBody>(file, bytes.size());
        respond(std::move(response));
      },
      options);
  EXPECT_EQ(Ask(*client_, *server, b_, "hearth://lab/node/a", "/file")->body, bytes);
  EXPECT_EQ(Ask(*client_, *server, b_, "hearth://lab/node/a", "/small")->body, "small");
  EXPECT_EQ(Ask(*client_, *server, b_, "hearth://lab/node/a", "/file")->body, bytes);
  EXPECT_EQ(handshakes, 1);
}

TEST_F(ServerTlsTest, RenewedCertificateIsShownToWhoComesNext) {
  std::shared_ptr<const TlsIdentity> identity = a_;
  HttpServer::Options options = Loopback();
  options.tls = [&] { return identity; };
  const auto server = StartServer(
      [](const ServerRequest&, const HttpServer::Respond& respond) { respond(Text("x")); },
      options);
  EXPECT_TRUE(Ask(*HttpClient::Create({}).value(), *server, b_, "hearth://lab/node/a").ok());
  identity = ca_.Issue("c");
  EXPECT_TRUE(Ask(*HttpClient::Create({}).value(), *server, b_, "hearth://lab/node/c").ok());
  identity = nullptr;
  EXPECT_FALSE(Ask(*HttpClient::Create({}).value(), *server, b_, "hearth://lab/node/c").ok());
}

TEST_F(ServerTlsTest, WhoNeverShakesHandsIsCutOff) {
  HttpServer::Options options = Tls(a_);
  options.idle_timeout = std::chrono::milliseconds(50);
  const auto server = StartServer(
      [](const ServerRequest&, const HttpServer::Respond& respond) { respond(Text("x")); },
      options);
  EXPECT_EQ(Say(*server, ""), "");
}

}  // namespace
}  // namespace hearth::net
