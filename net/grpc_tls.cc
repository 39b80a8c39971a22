#include "net/grpc_tls.h"

#include <absl/synchronization/mutex.h>
#include <grpc/grpc_security_constants.h>
#include <grpc/support/log.h>
#include <grpcpp/channel.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/resource_quota.h>
#include <grpcpp/security/credentials.h>
#include <grpcpp/security/server_credentials.h>
#include <grpcpp/security/tls_certificate_provider.h>
#include <grpcpp/security/tls_certificate_verifier.h>
#include <grpcpp/security/tls_credentials_options.h>
#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>
#include <openssl/bio.h>
#include <openssl/crypto.h>
#include <openssl/ssl.h>

#include <cstdlib>
#include <string_view>
#include <utility>

#include "base/file.h"
#include "base/log.h"
#include "net/http.h"

namespace hearth::net {

namespace {

namespace tls = grpc::experimental;

constexpr auto kDestructorGrace = std::chrono::seconds(2);
constexpr int kHandshakeTimeoutMs = 10'000;
constexpr int kMaxMetadataBytes = 8 * 1024;
constexpr int kMinBackoffMs = 200;
constexpr int kMaxBackoffMs = 10'000;
constexpr std::chrono::seconds kChannelKeepalive{20};
constexpr std::chrono::seconds kMinPingInterval{10};
// What a connection reads at once, and holds while it waits: a manager has thousands of them.
constexpr int kReadChunkBytes = 4 * 1024;

// gRPC 1.51 lets nobody choose the version of TLS, but reads its cipher list of TLS 1.2 from here.
// The only suite in it needs an RSA key, and a cluster's keys are EC: what is left is TLS 1.3.
// Before main(), where no other thread reads the environment.
const bool g_only_tls_1_3 =
    ::setenv("GRPC_SSL_CIPHER_SUITES", "ECDHE-RSA-AES128-GCM-SHA256", 1) == 0;

// A connection that is idle gives OpenSSL's buffers back, 32 KiB of them, and a server makes no
// tickets, since nobody resumes a session. gRPC hands its SSL objects to nobody; OpenSSL calls this
// for each new one. From 3.2 on it does so before it has made what these are kept in, so that a
// connection of such a release keeps its buffers and makes tickets.
void Economize(void* ssl, void*, CRYPTO_EX_DATA*, int, long, void*) {
  SSL_set_mode(static_cast<SSL*>(ssl), SSL_MODE_RELEASE_BUFFERS);
  SSL_set_num_tickets(static_cast<SSL*>(ssl), 0);
}
constexpr unsigned long kOpenSsl32 = 0x30200000UL;
const bool g_economizes = OpenSSL_version_num() >= kOpenSsl32 ||
                          SSL_get_ex_new_index(0, nullptr, Economize, nullptr, nullptr) >= 0;

// gRPC encrypts this much at once, into a buffer that each connection has.
constexpr int kFrameBytes = 4 * 1024;
// It lets OpenSSL's records pass through a BIO pair, 17 KiB each way unless somebody says less. A
// frame with its overhead has to fit.
constexpr long kPairBytes = 8 * 1024;
static_assert(kFrameBytes <= kPairBytes / 2);

// As a BIO's callback, before what it is asked to do; not needed after the pair is made.
long ShrinkPair(BIO* bio, int operation, const char* argument, size_t, int command, long,
                int result, size_t*) {
  if (operation != BIO_CB_CTRL || command != BIO_C_MAKE_BIO_PAIR) return result;
  BIO* peer = const_cast<BIO*>(reinterpret_cast<const BIO*>(argument));
  for (BIO* half : {bio, peer}) {
    (void)BIO_set_write_buf_size(half, kPairBytes);
    BIO_set_callback_ex(half, nullptr);
  }
  return result;
}
// OpenSSL calls this for each new BIO.
void WatchPair(void* parent, void*, CRYPTO_EX_DATA*, int, long, void*) {
  BIO* bio = static_cast<BIO*>(parent);
  if (BIO_method_type(bio) == BIO_TYPE_BIO) BIO_set_callback_ex(bio, ShrinkPair);
}

int Milliseconds(std::chrono::milliseconds time) { return static_cast<int>(time.count()); }

// Its lines go where ours go, and only when somebody looks for them: a stranger can cause any
// number of "errors" of handshakes.
void LogOfGrpc(gpr_log_func_args* args) { LOG_DEBUG("gRPC", {{"what", args->message}}); }
const bool g_logs_to_us = (gpr_set_log_function(LogOfGrpc), true);

// Debian's Abseil is built with its checks, and looks up each lock of gRPC in a graph of all.
const bool g_no_lock_graph =
    (absl::SetMutexDeadlockDetectionMode(absl::OnDeadlockCycle::kIgnore), true);

// Looks at the identity in the peer's certificate, whose chain gRPC has verified.
class IdentityVerifier final : public tls::ExternalCertificateVerifier {
 public:
  explicit IdentityVerifier(ExpectedPeer expected) : expected_(std::move(expected)) {}

  bool Verify(tls::TlsCustomVerificationCheckRequest* request, std::function<void(grpc::Status)>,
              grpc::Status* sync_status) override {
    *sync_status = Check(request->uri_names())
                       ? grpc::Status::OK
                       : grpc::Status(grpc::StatusCode::UNAUTHENTICATED,
                                      "the server's certificate is for somebody else");
    return true;
  }
  void Cancel(tls::TlsCustomVerificationCheckRequest*) override {}

 private:
  bool Check(const std::vector<grpc::string_ref>& uris) const {
    if (uris.size() != 1) return false;
    const auto identity = Identity::Parse({uris[0].data(), uris[0].size()});
    return identity.ok() && identity->role == expected_.role &&
           (expected_.id.empty() || identity->id == expected_.id);
  }
  const ExpectedPeer expected_;
};

std::shared_ptr<grpc::Channel> MakeChannel(
    const std::string& address, std::shared_ptr<tls::CertificateProviderInterface> provider,
    bool show_ours, const ExpectedPeer& peer, int max_message_bytes) {
  tls::TlsChannelCredentialsOptions options;
  options.set_certificate_provider(std::move(provider));
  options.watch_root_certs();
  if (show_ours) options.watch_identity_key_cert_pairs();
  options.set_certificate_verifier(
      tls::ExternalCertificateVerifier::Create<IdentityVerifier>(peer));
  options.set_check_call_host(false);
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(max_message_bytes);
  arguments.SetMaxSendMessageSize(max_message_bytes);
  arguments.SetInt(GRPC_ARG_MAX_METADATA_SIZE, kMaxMetadataBytes);
  arguments.SetInt(GRPC_ARG_TSI_MAX_FRAME_SIZE, kFrameBytes);
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, kMinBackoffMs);
  arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, kHandshakeTimeoutMs);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, kMaxBackoffMs);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, Milliseconds(kChannelKeepalive));
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, Milliseconds(kChannelKeepalive));
  // One connection per channel: what is said about its peer must hold for it alone.
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  arguments.SetServiceConfigJSON("{}");
  return grpc::CreateCustomChannel("dns:///" + address, tls::TlsCredentials(options), arguments);
}

// The FileWatcher logs what it cannot read and waits; at a start the error is wanted at once.
Status CheckFiles(const TlsFiles& files) {
  constexpr uint64_t kLimit = kMaxChainLength * kMaxCertificateBytes;
  const auto key = TRY(
      PrivateKey::FromPem(TRY(ReadFile(files.key, kLimit))).Annotate("key " + files.key.native()));
  const auto ours = TRY(Certificate::FromPem(TRY(ReadFile(files.certificate, kLimit)))
                            .Annotate("certificate " + files.certificate.native()));
  const auto authority = TRY(Certificate::FromPem(TRY(ReadFile(files.authority, kLimit)))
                                 .Annotate("authority " + files.authority.native()));
  if (key.PublicKeyHash() != ours.PublicKeyHash()) {
    return InvalidArgument(files.certificate.native() + " is not of the key in " +
                           files.key.native());
  }
  return ours.CheckIssuedBy(authority, RealClock().WallNow())
      .Annotate("certificate " + files.certificate.native());
}

}  // namespace

void UseSmallTlsBuffers() {
  static const int index = BIO_get_ex_new_index(0, nullptr, WatchPair, nullptr, nullptr);
  CHECK(index >= 0);
}

struct TlsWatch::Provider {
  std::shared_ptr<tls::CertificateProviderInterface> certificates;
};

Result<std::shared_ptr<const TlsWatch>> TlsWatch::Start(const TlsFiles& files,
                                                        std::chrono::seconds reload) {
  CHECK(g_only_tls_1_3 && g_logs_to_us && g_economizes);
  if (const Status usable = CheckFiles(files); !usable.ok()) {
    return FailedPrecondition(usable.message());
  }
  auto watcher = std::make_shared<tls::FileWatcherCertificateProvider>(
      files.key.native(), files.certificate.native(), files.authority.native(),
      static_cast<unsigned>(reload.count()));
  return std::make_shared<const TlsWatch>(std::make_shared<Provider>(Provider{std::move(watcher)}));
}

Result<std::unique_ptr<GrpcTlsServer>> GrpcTlsServer::Start(Options options) {
  CHECK(!options.services.empty());
  tls::TlsServerCredentialsOptions credentials(options.tls->provider()->certificates);
  credentials.watch_root_certs();
  credentials.watch_identity_key_cert_pairs();
  credentials.set_cert_request_type(GRPC_SSL_REQUEST_CLIENT_CERTIFICATE_AND_VERIFY);
  grpc::ServerBuilder builder;
  int port = 0;
  builder.AddListeningPort(options.listen, tls::TlsServerCredentials(credentials), &port);
  grpc::ResourceQuota quota("peers");
  quota.Resize(options.memory_bytes);
  builder.SetResourceQuota(quota);
  builder.SetMaxReceiveMessageSize(options.max_message_bytes);
  builder.SetMaxSendMessageSize(options.max_message_bytes);
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
  builder.AddChannelArgument(GRPC_ARG_TCP_READ_CHUNK_SIZE, kReadChunkBytes);
  builder.AddChannelArgument(GRPC_ARG_TCP_MAX_READ_CHUNK_SIZE, kReadChunkBytes);
  builder.AddChannelArgument(GRPC_ARG_MAX_METADATA_SIZE, kMaxMetadataBytes);
  builder.AddChannelArgument(GRPC_ARG_TSI_MAX_FRAME_SIZE, kFrameBytes);
  builder.AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS, options.max_streams_per_connection);
  builder.AddChannelArgument(GRPC_ARG_SERVER_HANDSHAKE_TIMEOUT_MS, kHandshakeTimeoutMs);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, Milliseconds(options.keepalive));
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, Milliseconds(options.keepalive));
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS,
                             Milliseconds(kMinPingInterval));
  for (grpc::Service* service : options.services) builder.RegisterService(service);
  std::unique_ptr<GrpcTlsServer> server(new GrpcTlsServer);
  server->server_ = builder.BuildAndStart();
  if (server->server_ == nullptr || port <= 0) {
    return AlreadyExists("cannot listen on " + options.listen +
                         " for gRPC (is the address this machine's, and the port free?)");
  }
  server->address_ = options.listen.substr(0, options.listen.rfind(':') + 1) + std::to_string(port);
  return server;
}

GrpcTlsServer::~GrpcTlsServer() { Shutdown(kDestructorGrace); }

void GrpcTlsServer::Shutdown(std::chrono::milliseconds grace) {
  if (server_ == nullptr) return;
  server_->Shutdown(std::chrono::system_clock::now() + grace);
  server_->Wait();
  server_.reset();
}

Result<GrpcTlsPeer> CallerOf(const grpc::ServerContextBase& context) {
  const auto authentication = context.auth_context();
  const auto values = authentication->FindPropertyValues(GRPC_X509_PEM_CERT_PROPERTY_NAME);
  if (!authentication->IsPeerAuthenticated() || values.size() != 1) {
    return Unauthenticated("a client certificate is needed (hearth node join)");
  }
  auto certificate = Certificate::FromPem({values[0].data(), values[0].size()});
  if (!certificate.ok()) return Unauthenticated(certificate.status().message());
  Identity identity = TRY(certificate->ReadIdentity());
  return GrpcTlsPeer{std::move(identity), *std::move(certificate)};
}

std::string PeerHost(const grpc::ServerContextBase& context) {
  std::string peer = context.peer();
  const size_t kind = peer.find(':');
  const size_t port = peer.rfind(':');
  if (kind == std::string::npos || port <= kind) return peer;
  peer = peer.substr(kind + 1, port - kind - 1);
  auto decoded = PercentDecode(peer);  // "%5B::1%5D"
  if (decoded.ok()) peer = *std::move(decoded);
  if (peer.size() > 2 && peer.front() == '[') peer = peer.substr(1, peer.size() - 2);
  return peer;
}

std::shared_ptr<grpc::Channel> MakeTlsChannel(const std::string& address,
                                              std::shared_ptr<const TlsWatch> watch,
                                              const ExpectedPeer& peer, int max_message_bytes) {
  return MakeChannel(address, watch->provider()->certificates, true, peer, max_message_bytes);
}

std::shared_ptr<grpc::Channel> TlsChannels::To(const std::string& address) {
  MutexLock lock(mutex_);
  std::weak_ptr<grpc::Channel>& known = channels_[address];
  auto channel = known.lock();
  if (channel == nullptr) {
    channel = MakeTlsChannel(address, tls_, {.role = Role::kManager, .id = ""});
    known = channel;
  }
  return channel;
}

std::shared_ptr<grpc::Channel> MakeJoinChannel(const std::string& address,
                                               const Certificate& authority) {
  CHECK(g_only_tls_1_3);
  return MakeChannel(address,
                     std::make_shared<tls::StaticDataCertificateProvider>(authority.ToPem()), false,
                     {Role::kManager, ""}, 1 << 20);
}

}  // namespace hearth::net
