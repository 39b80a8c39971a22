// Certificates of a cluster: its authority, the keys and certificates of its nodes and managers,
// and signatures made with those keys.
//
// EC P-256 keys only. A certificate says who it is for in one URI of its subject alternative name:
// "hearth://CLUSTER/node/ID", or "hearth:///manager/ID" for a manager, which serves all its
// clusters. The node's name is the common name. What comes from strangers (PEM, DER, requests,
// signatures) is bounded and checked here. Values; any thread.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/digest.h"
#include "base/log.h"
#include "base/status.h"

namespace hearth::net {

inline constexpr size_t kMaxCertificateBytes = 16 * 1024;  // of one, or of a request, as PEM
inline constexpr size_t kMaxChainLength = 4;
inline constexpr size_t kMaxIdentityPartBytes = 64;  // of a cluster's name and an ID
inline constexpr size_t kMaxCommonNameBytes = 64;    // X.520's bound
// Certificates are valid from so long before their issue, for clocks that are behind.
inline constexpr std::chrono::hours kClockTolerance{2};
inline constexpr std::chrono::hours kMaxCertificateLife{24};

enum class Role : uint8_t { kNode, kManager };

struct Identity {
  Role role = Role::kNode;
  std::string cluster;  // letters, digits, '-', '_', '.'; "" for a manager
  std::string id;       // the same alphabet

  std::string ToUri() const;
  // kInvalidArgument for anything that ToUri() does not make.
  static Result<Identity> Parse(std::string_view uri);
  friend bool operator==(const Identity&, const Identity&) = default;
};

// A private key. Copies share it; nothing prints it.
class PrivateKey {
 public:
  static PrivateKey Generate();
  // kInvalidArgument: not one unencrypted EC P-256 key.
  static Result<PrivateKey> FromPem(std::string_view pem);
  Secret<std::string> ToPem() const;

  // The sha256 of the public half (SubjectPublicKeyInfo, DER); what a name is bound to.
  Digest PublicKeyHash() const;
  // ECDSA with sha256, DER.
  std::string Sign(std::string_view data) const;

 private:
  friend class Certificate;
  friend class SigningRequest;
  struct State;
  explicit PrivateKey(std::shared_ptr<const State> state) : state_(std::move(state)) {}
  std::shared_ptr<const State> state_;
};

// A PKCS #10 request: proves that who asks holds the key. What it says about names is ignored.
class SigningRequest {
 public:
  static std::string MakePem(const PrivateKey& key);
  // kInvalidArgument: cannot be read, another kind of key, or not signed by its own key.
  static Result<SigningRequest> FromPem(std::string_view pem);
  Digest PublicKeyHash() const;

 private:
  friend class Certificate;
  struct State;
  explicit SigningRequest(std::shared_ptr<const State> state) : state_(std::move(state)) {}
  std::shared_ptr<const State> state_;
};

class Certificate {
 public:
  // The first of a PEM text. kInvalidArgument: cannot be read, another kind of key.
  static Result<Certificate> FromPem(std::string_view pem);
  // All of it; at least one.
  static Result<std::vector<Certificate>> ChainFromPem(std::string_view pem);
  static Result<Certificate> FromDer(std::string_view der);

  // A self-signed authority.
  static Certificate MakeAuthority(const PrivateKey& key, const std::string& common_name,
                                   WallTime now, std::chrono::hours life);
  struct Subject {
    Identity identity;
    std::string common_name;         // at most kMaxCommonNameBytes
    std::vector<std::string> hosts;  // names and addresses beside the URI, for a manager
    std::chrono::seconds life = kMaxCertificateLife;  // from `now` on
  };
  // `this` is the authority, `key` its key. Never outlives it. kInvalidArgument: a subject that
  // cannot be written, life out of range; kFailedPrecondition: the authority has expired.
  Result<Certificate> Issue(const PrivateKey& key, const SigningRequest& request,
                            const Subject& subject, WallTime now) const;

  std::string ToPem() const;
  std::string ToDer() const;
  // kUnauthenticated: it has no such URI, several, or one that is no identity of ours.
  Result<Identity> ReadIdentity() const;
  std::string CommonName() const;  // "" where there is none
  WallTime NotBefore() const;
  WallTime NotAfter() const;
  // The sha256 of its DER form; of the authority it is what a join token ends with.
  Digest Fingerprint() const;
  Digest PublicKeyHash() const;

  // kUnauthenticated: not issued by `authority` for TLS on both sides, or not valid at `now`; says
  // which.
  Status CheckIssuedBy(const Certificate& authority, WallTime now) const;
  // Of PrivateKey::Sign(). kUnauthenticated: made by another key or over other data.
  Status CheckSignature(std::string_view data, std::string_view signature) const;

 private:
  struct State;
  explicit Certificate(std::shared_ptr<const State> state) : state_(std::move(state)) {}
  std::shared_ptr<const State> state_;
};

}  // namespace hearth::net
