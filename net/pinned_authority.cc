// FetchAuthority() of grpc_tls.h, in OpenSSL alone: gRPC shows no chain that it has not verified.
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <poll.h>

#include <algorithm>

#include "base/clock.h"
#include "base/host_port.h"
#include "net/connector.h"
#include "net/grpc_tls.h"

namespace hearth::net {

namespace {

using std::chrono::milliseconds;

constexpr unsigned char kAlpn[] = {2, 'h', '2'};

struct FreeContext {
  void operator()(SSL_CTX* context) const { SSL_CTX_free(context); }
};
struct FreeSsl {
  void operator()(SSL* ssl) const { SSL_free(ssl); }
};

Status Handshake(SSL* ssl, int fd, Deadline deadline) {
  while (true) {
    const int done = SSL_connect(ssl);
    if (done == 1) return OkStatus();
    const int error = SSL_get_error(ssl, done);
    if (error != SSL_ERROR_WANT_READ && error != SSL_ERROR_WANT_WRITE) {
      ERR_clear_error();
      return Unavailable("it does not speak TLS 1.3 (is this the manager's gRPC port?)");
    }
    const auto left = std::chrono::duration_cast<milliseconds>(deadline.Left());
    pollfd wait{fd, static_cast<short>(error == SSL_ERROR_WANT_READ ? POLLIN : POLLOUT), 0};
    const int ready = ::poll(&wait, 1, static_cast<int>(std::max<int64_t>(left.count(), 0)));
    if (ready < 0 && errno != EINTR) return ErrnoStatus(errno, "poll");
    if (ready == 0) return DeadlineExceeded("no answer to the TLS handshake");
  }
}

Result<Certificate> Read(X509* x509) {
  unsigned char* data = nullptr;
  const int size = i2d_X509(x509, &data);
  if (size <= 0) return Unauthenticated("a certificate that cannot be read");
  auto read =
      Certificate::FromDer({reinterpret_cast<const char*>(data), static_cast<size_t>(size)});
  OPENSSL_free(data);
  return read;
}

Result<Certificate> FindAuthority(SSL* ssl, const Digest& fingerprint) {
  const STACK_OF(X509)* chain = SSL_get_peer_cert_chain(ssl);
  std::string seen = "none";
  for (int i = 0; chain != nullptr && i < sk_X509_num(chain); ++i) {
    const auto certificate = Read(sk_X509_value(chain, i));
    if (!certificate.ok()) continue;
    if (certificate->Fingerprint() != fingerprint) {
      seen = certificate->Fingerprint().hex();
      continue;
    }
    const Certificate server = TRY(Read(sk_X509_value(chain, 0)));
    TRY_STATUS(server.CheckIssuedBy(*certificate, RealClock().WallNow()));
    if (TRY(server.ReadIdentity()).role != Role::kManager) {
      return Unauthenticated("it shows the certificate of a node, not of a manager");
    }
    return certificate;
  }
  return Unauthenticated("its authority is " + seen + ", the token is for " + fingerprint.hex() +
                         " (another cluster's manager? a token of an old installation?)");
}

}  // namespace

Result<Certificate> FetchAuthority(const std::string& address, const Digest& fingerprint,
                                   std::chrono::milliseconds timeout) {
  const HostPort to = TRY(HostPort::Parse(address));
  if (to.port == 0) return InvalidArgument("\"" + address + "\" names no port");
  const Deadline deadline = Deadline::After(timeout);
  const Fd fd = TRY(ConnectTcp(to.host, to.port, nullptr, timeout).Annotate("manager " + address));
  const std::unique_ptr<SSL_CTX, FreeContext> context(SSL_CTX_new(TLS_client_method()));
  CHECK(context != nullptr);
  SSL_CTX_set_min_proto_version(context.get(), TLS1_3_VERSION);
  // The fingerprint is the judge.
  SSL_CTX_set_verify(context.get(), SSL_VERIFY_NONE, nullptr);
  const std::unique_ptr<SSL, FreeSsl> ssl(SSL_new(context.get()));
  CHECK(ssl != nullptr && SSL_set_fd(ssl.get(), fd.get()) == 1);
  SSL_set_alpn_protos(ssl.get(), kAlpn, sizeof(kAlpn));
  TRY_STATUS(Handshake(ssl.get(), fd.get(), deadline).Annotate("manager " + address));
  return FindAuthority(ssl.get(), fingerprint).Annotate("manager " + address);
}

}  // namespace hearth::net
