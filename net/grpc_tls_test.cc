#include "net/grpc_tls.h"

#include <fcntl.h>
#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/impl/codegen/server_callback_handlers.h>
#include <grpcpp/impl/codegen/service_type.h>
#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/server_callback.h>
#include <gtest/gtest.h>
#include <openssl/bio.h>
#include <openssl/ssl.h>
#include <stdlib.h>

#include <string>
#include <thread>

#include "base/file.h"
#include "base/host_port.h"
#include "net/connector.h"
#include "net/grpc.h"

namespace hearth::net {
namespace {

using std::chrono::hours;

// "/test.Who/Who": answers with the identity of who calls.
class WhoService final : public grpc::Service {
 public:
  WhoService() {
    AddMethod(new grpc::internal::RpcServiceMethod("/test.Who/Who",
                                                   grpc::internal::RpcMethod::NORMAL_RPC, nullptr));
    MarkMethodRawCallback(
        0, new grpc::internal::CallbackUnaryHandler<grpc::ByteBuffer, grpc::ByteBuffer>(
               [](grpc::CallbackServerContext* context, const grpc::ByteBuffer* request,
                  grpc::ByteBuffer* response) {
                 const auto peer = CallerOf(*context);
                 const grpc::Slice text(peer.ok()
                                            ? peer->identity.ToUri() + " " + PeerHost(*context) +
                                                  std::string(request->Length(), '.')
                                            : "");
                 *response = grpc::ByteBuffer(&text, 1);
                 auto* reactor = context->DefaultReactor();
                 reactor->Finish(ToGrpc(peer.status()));
                 return reactor;
               }));
  }
};

class GrpcTlsTest : public ::testing::Test {
 protected:
  struct Cluster {
    PrivateKey key = PrivateKey::Generate();
    Certificate authority =
        Certificate::MakeAuthority(key, "test", RealClock().WallNow(), hours(24 * 365));
  };

  GrpcTlsTest() {
    std::string name = "/tmp/hearth-grpc-tls-XXXXXX";
    CHECK(::mkdtemp(name.data()) != nullptr);
    folder_ = name;
  }
  ~GrpcTlsTest() override { (void)RemoveTree(folder_); }

  TlsFiles Write(const std::string& name, const Cluster& cluster, const Identity& identity,
                 WallTime now = RealClock().WallNow(), const std::vector<std::string>& hosts = {}) {
    const PrivateKey key = PrivateKey::Generate();
    const auto request = SigningRequest::FromPem(SigningRequest::MakePem(key));
    const auto certificate =
        cluster.authority.Issue(cluster.key, request.value(), {identity, name, hosts}, now);
    CHECK(certificate.ok());
    const TlsFiles files{folder_ / (name + ".key"), folder_ / (name + ".crt"),
                         folder_ / (name + ".ca")};
    CHECK(WriteFileAtomically(files.key, key.ToPem().Reveal(), 0600).ok());
    CHECK(WriteFileAtomically(files.certificate, certificate->ToPem() + cluster.authority.ToPem())
              .ok());
    CHECK(WriteFileAtomically(files.authority, cluster.authority.ToPem()).ok());
    return files;
  }

  static std::shared_ptr<const TlsWatch> Watch(const TlsFiles& files) {
    auto watch = TlsWatch::Start(files);
    EXPECT_TRUE(watch.ok()) << watch.status();
    return watch.value();
  }

  std::unique_ptr<GrpcTlsServer> Serve(WhoService& service, const TlsFiles& files) {
    GrpcTlsServer::Options options;
    options.listen = "127.0.0.1:0";
    options.tls = Watch(files);
    options.services = {&service};
    auto server = GrpcTlsServer::Start(options);
    CHECK(server.ok());
    return *std::move(server);
  }

  static Result<std::string> Who(const std::shared_ptr<grpc::Channel>& channel,
                                 const std::string& text = "") {
    grpc::GenericStub stub(channel);
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(10));
    grpc::CompletionQueue queue;
    const grpc::Slice slices[] = {grpc::Slice(text)};
    const grpc::ByteBuffer request(slices, 1);
    const auto call = stub.PrepareUnaryCall(&context, "/test.Who/Who", request, &queue);
    call->StartCall();
    grpc::ByteBuffer response;
    grpc::Status status;
    call->Finish(&response, &status, nullptr);
    void* tag = nullptr;
    bool ok = false;
    (void)queue.Next(&tag, &ok);
    TRY_STATUS(FromGrpc(status));
    grpc::Slice slice;
    CHECK(response.DumpToSingleSlice(&slice).ok());
    return std::string(reinterpret_cast<const char*>(slice.begin()), slice.size());
  }

  const Identity manager_{Role::kManager, "", "m"};
  const Identity node_{Role::kNode, "default", "n1"};
  std::filesystem::path folder_;
  WhoService service_;
  Cluster cluster_;
};

TEST_F(GrpcTlsTest, BothSidesKnowEachOther) {
  const auto server = Serve(service_, Write("manager", cluster_, manager_));
  const auto files = Write("node", cluster_, node_);
  EXPECT_EQ(Who(MakeTlsChannel(server->address(), Watch(files), {Role::kManager, ""})).value(),
            "hearth://default/node/n1 127.0.0.1");
  EXPECT_EQ(Who(MakeTlsChannel(server->address(), Watch(files), {Role::kManager, "m"})).value(),
            "hearth://default/node/n1 127.0.0.1");
}

TEST_F(GrpcTlsTest, WhoShowsNoCertificateIsNobody) {
  const auto server = Serve(service_, Write("manager", cluster_, manager_));
  const auto channel = MakeJoinChannel(server->address(), cluster_.authority);
  EXPECT_EQ(Who(channel).status().code(), StatusCode::kUnauthenticated);
}

TEST_F(GrpcTlsTest, ANodeCannotPoseAsTheManagerNorAsAnother) {
  const auto server = Serve(service_, Write("liar", cluster_, node_));
  const auto files = Write("node", cluster_, {Role::kNode, "default", "n2"});
  EXPECT_EQ(
      Who(MakeTlsChannel(server->address(), Watch(files), {Role::kManager, ""})).status().code(),
      StatusCode::kUnavailable);
  EXPECT_EQ(
      Who(MakeTlsChannel(server->address(), Watch(files), {Role::kNode, "n3"})).status().code(),
      StatusCode::kUnavailable);
  EXPECT_TRUE(Who(MakeTlsChannel(server->address(), Watch(files), {Role::kNode, "n1"})).ok());
}

TEST_F(GrpcTlsTest, ForeignCertificatesAreRefusedByEitherSide) {
  const Cluster other;
  const auto server = Serve(service_, Write("manager", cluster_, manager_));
  TlsFiles files = Write("foreign", other, node_);
  EXPECT_EQ(
      Who(MakeTlsChannel(server->address(), Watch(files), {Role::kManager, ""})).status().code(),
      StatusCode::kUnavailable);
  // It believes the server, and the server does not believe it.
  CHECK(WriteFileAtomically(files.authority, other.authority.ToPem() + cluster_.authority.ToPem())
            .ok());
  EXPECT_EQ(
      Who(MakeTlsChannel(server->address(), Watch(files), {Role::kManager, ""})).status().code(),
      StatusCode::kUnavailable);
}

TEST_F(GrpcTlsTest, AnExpiredCertificateIsRefused) {
  const auto server = Serve(service_, Write("manager", cluster_, manager_));
  const PrivateKey key = PrivateKey::Generate();
  const auto request = SigningRequest::FromPem(SigningRequest::MakePem(key));
  const TlsFiles files = Write("node", cluster_, node_);
  CHECK(WriteFileAtomically(files.key, key.ToPem().Reveal(), 0600).ok());
  // As short a life as this machine needs to see the beginning of it.
  auto watch = TlsWatch::Start({"", "", ""});
  WallTime end;
  for (std::chrono::seconds life{1}; !watch.ok() && life < std::chrono::minutes(1); life *= 2) {
    const auto late = cluster_.authority.Issue(cluster_.key, request.value(),
                                               {node_, "late", {}, life}, RealClock().WallNow());
    ASSERT_TRUE(late.ok()) << late.status();
    CHECK(WriteFileAtomically(files.certificate, late->ToPem() + cluster_.authority.ToPem()).ok());
    end = late->NotAfter();
    watch = TlsWatch::Start(files);
  }
  ASSERT_TRUE(watch.ok()) << watch.status();
  std::this_thread::sleep_until(end + std::chrono::seconds(1));
  EXPECT_EQ(Who(MakeTlsChannel(server->address(), *watch, {Role::kManager, ""})).status().code(),
            StatusCode::kUnavailable);
  EXPECT_EQ(TlsWatch::Start(files).status().code(), StatusCode::kFailedPrecondition);
}

TEST_F(GrpcTlsTest, ARenewedCertificateIsShownWithoutARestart) {
  const TlsFiles files = Write("manager", cluster_, manager_);
  const auto server = Serve(service_, files);
  const auto node = Write("node", cluster_, node_);
  const auto named_m2 = [&] {
    return Who(MakeTlsChannel(server->address(), Watch(node), {Role::kManager, "m2"})).ok();
  };
  EXPECT_FALSE(named_m2());
  const TlsFiles renewed = Write("renewed", cluster_, {Role::kManager, "", "m2"});
  std::filesystem::rename(renewed.key, files.key);
  std::filesystem::rename(renewed.certificate, files.certificate);
  const Deadline deadline = Deadline::After(4 * kTlsReload);
  bool shown = false;
  while (!shown && !deadline.Passed()) shown = named_m2();
  EXPECT_TRUE(shown);
}

int ConnectWith(const std::string& address, int version) {
  const auto to = HostPort::Parse(address);
  const auto fd = ConnectTcp(to->host, to->port, nullptr, std::chrono::seconds(5));
  CHECK(fd.ok());
  CHECK(::fcntl(fd->get(), F_SETFL, 0) == 0);
  SSL_CTX* context = SSL_CTX_new(TLS_client_method());
  SSL_CTX_set_max_proto_version(context, version);
  SSL* ssl = SSL_new(context);
  const unsigned char alpn[] = {2, 'h', '2'};
  SSL_set_alpn_protos(ssl, alpn, sizeof(alpn));
  SSL_set_fd(ssl, fd->get());
  const int done = SSL_connect(ssl);
  SSL_free(ssl);
  SSL_CTX_free(context);
  return done;
}

TEST_F(GrpcTlsTest, WhatIsLargerThanSmallBuffersGoesThroughThem) {
  UseSmallTlsBuffers();
  std::vector<std::string> hosts;
  for (int i = 0; i < 400; ++i) hosts.push_back("manager-" + std::to_string(i) + ".example.com");
  const auto server =
      Serve(service_, Write("manager", cluster_, manager_, RealClock().WallNow(), hosts));
  const auto channel = MakeTlsChannel(server->address(), Watch(Write("node", cluster_, node_)),
                                      {Role::kManager, ""});
  const std::string text(900'000, '.');
  for (const std::string& sent : {std::string(), text, text}) {
    const auto answer = Who(channel, sent);
    EXPECT_EQ(answer.value(), "hearth://default/node/n1 127.0.0.1" + sent);
  }
}

TEST_F(GrpcTlsTest, SmallBuffersAreSmall) {
  UseSmallTlsBuffers();
  BIO* one = nullptr;
  BIO* other = nullptr;
  ASSERT_EQ(BIO_new_bio_pair(&one, 0, &other, 0), 1);
  EXPECT_EQ(BIO_get_write_guarantee(one), 8 * 1024);
  EXPECT_EQ(BIO_get_write_guarantee(other), 8 * 1024);
  BIO_free(one);
  BIO_free(other);
}

TEST_F(GrpcTlsTest, SpeaksNothingOlderThanTls13) {
  const auto server = Serve(service_, Write("manager", cluster_, manager_));
  EXPECT_EQ(ConnectWith(server->address(), TLS1_3_VERSION), 1);
  EXPECT_NE(ConnectWith(server->address(), TLS1_2_VERSION), 1);
}

TEST_F(GrpcTlsTest, NobodyGetsATicketForASessionThatIsNeverResumed) {
  if (OpenSSL_version_num() >= 0x30200000UL) GTEST_SKIP() << "OpenSSL lets nobody turn them off";
  const auto server = Serve(service_, Write("manager", cluster_, manager_));
  const auto to = HostPort::Parse(server->address());
  const auto fd = ConnectTcp(to->host, to->port, nullptr, std::chrono::seconds(5));
  ASSERT_TRUE(fd.ok());
  ASSERT_EQ(::fcntl(fd->get(), F_SETFL, 0), 0);
  static int tickets;
  tickets = 0;
  SSL_CTX* context = SSL_CTX_new(TLS_client_method());
  SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_CLIENT);
  SSL_CTX_sess_set_new_cb(context, [](SSL*, SSL_SESSION*) {
    ++tickets;
    return 0;
  });
  SSL* ssl = SSL_new(context);
  const unsigned char alpn[] = {2, 'h', '2'};
  SSL_set_alpn_protos(ssl, alpn, sizeof(alpn));
  SSL_set_fd(ssl, fd->get());
  ASSERT_EQ(SSL_connect(ssl), 1);
  char byte = 0;
  EXPECT_EQ(SSL_read(ssl, &byte, 1), 1);  // of HTTP/2's settings, which come after the tickets
  EXPECT_EQ(tickets, 0);
  SSL_free(ssl);
  SSL_CTX_free(context);
}

TEST_F(GrpcTlsTest, TheAuthorityIsFetchedByItsFingerprintOnly) {
  const auto server = Serve(service_, Write("manager", cluster_, manager_));
  const auto fetch = [&](const Digest& fingerprint) {
    return FetchAuthority(server->address(), fingerprint, std::chrono::seconds(5));
  };
  EXPECT_EQ(fetch(cluster_.authority.Fingerprint())->ToPem(), cluster_.authority.ToPem());
  EXPECT_EQ(fetch(Cluster().authority.Fingerprint()).status().code(), StatusCode::kUnauthenticated);
  WhoService of_node;
  const auto node = Serve(of_node, Write("node", cluster_, node_));
  EXPECT_EQ(
      FetchAuthority(node->address(), cluster_.authority.Fingerprint(), std::chrono::seconds(5))
          .status()
          .code(),
      StatusCode::kUnauthenticated);
  for (const char* address : {"127.0.0.1", "127.0.0.1:0", "127.0.0.1:x", ""}) {
    EXPECT_EQ(FetchAuthority(address, {}, std::chrono::seconds(5)).status().code(),
              StatusCode::kInvalidArgument);
  }
}

TEST_F(GrpcTlsTest, AServerSaysWhyItCannotStart) {
  const auto taken = Serve(service_, Write("manager", cluster_, manager_));
  WhoService service;
  GrpcTlsServer::Options options;
  options.tls = Watch(Write("second", cluster_, manager_));
  options.listen = taken->address();
  options.services = {&service};
  EXPECT_EQ(GrpcTlsServer::Start(options).status().code(), StatusCode::kAlreadyExists);
}

TEST_F(GrpcTlsTest, FilesThatDoNotFitAreNamed) {
  TlsFiles files = Write("first", cluster_, manager_);
  files.key = Write("second", cluster_, manager_).key;
  const Status status = TlsWatch::Start(files).status();
  EXPECT_EQ(status.code(), StatusCode::kFailedPrecondition);
  EXPECT_NE(status.message().find("second.key"), std::string::npos) << status;
  files.key = folder_ / "nowhere";
  EXPECT_EQ(TlsWatch::Start(files).status().code(), StatusCode::kFailedPrecondition);
}

}  // namespace
}  // namespace hearth::net
