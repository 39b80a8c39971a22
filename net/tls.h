// TLS between the parts of a cluster: who we are, whom we trust, who the other side is.
//
// Plain values, any thread. Only net's own .cc files see OpenSSL.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/digest.h"
#include "base/status.h"

struct ssl_ctx_st;
struct ssl_st;
struct x509_st;

namespace hearth::net {

struct TlsIdentity {
  std::string certificate_pem;  // ours first, then what leads to a CA
  std::string key_pem;          // a secret
  // Whom the other side's certificate must lead to. "" in a server = clients need none.
  std::string ca_pem;
};

// What to show and whom to trust from now on; asked for each new connection, so that a renewed
// certificate needs no restart. Null = there is none yet: connections are refused.
using TlsIdentitySource = std::function<std::shared_ptr<const TlsIdentity>()>;

// The other side's verified certificate.
struct TlsPeer {
  std::vector<std::string> uris;  // its URI names, as they stand there
  Digest key;                     // sha256 of its public key (SubjectPublicKeyInfo)
  WallTime expires{};
};

// Of a certificate whose chain was verified.
TlsPeer PeerOf(x509_st* certificate);

// For connections that come in: TLS 1.3 only, no session resumption (which would not look at a
// certificate again), and where `ca_pem` is set a client certificate that leads there. Counted.
// kFailedPrecondition: certificate or key cannot be read or do not fit.
Result<std::shared_ptr<ssl_ctx_st>> MakeServerContext(const TlsIdentity& identity);

// Makes `context` (of a client) accept only a certificate that leads to its CAs and has
// `*uri`, which outlives its handshakes, as its only URI name. Host names are not looked at.
void ExpectPeer(ssl_ctx_st* context, const std::string* uri);

}  // namespace hearth::net
