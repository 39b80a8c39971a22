// Attester: signs this node's word for the sums of pieces, and checks that of others.
//
// Any thread. Checking costs a signature each; who calls for messages of strangers bounds them.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/digest.h"
#include "base/piece_sum.h"
#include "base/status.h"
#include "base/thread.h"
#include "hearth/v1/attestation.pb.h"
#include "net/certificate.h"
#include "net/tls.h"

namespace hearth::p2p {

inline constexpr size_t kMaxSumsPerAttestation = 4096;
inline constexpr size_t kMaxAttestationBytes = 132 * 1024;

// What an attestation says.
struct AttestedSums {
  std::string node_id;  // of the signer
  Digest blob;
  uint64_t size_bytes = 0;
  std::vector<PieceSum> sums;
};

class Attester {
 public:
  struct Options {
    net::TlsIdentitySource identity;
    std::string cluster;
    const Clock& clock = RealClock();
  };
  explicit Attester(Options options) : options_(std::move(options)) {}

  // `sums` are of consecutive pieces from `first` on, at most kMaxSumsPerAttestation.
  // kFailedPrecondition: no certificate yet.
  Result<v1::Attestation> Sign(const Digest& blob, uint64_t size_bytes, PieceIndex first,
                               const std::vector<Digest>& sums);
  // kUnauthenticated: not signed by a node of this cluster whose certificate was valid then;
  // kInvalidArgument: beyond a limit, or not of the blob's size.
  Result<AttestedSums> Check(const v1::Attestation& attestation);

 private:
  // What the identity's PEM texts say.
  struct Own {
    std::shared_ptr<const net::TlsIdentity> source;
    net::PrivateKey key;
    net::Certificate certificate;
    net::Certificate authority;
  };
  Result<std::shared_ptr<const Own>> GetOwn();
  Result<net::Certificate> SignerOf(const v1::Attestation& attestation,
                                    const net::Certificate& authority, WallTime signed_at);

  static constexpr size_t kMaxSigners = 1024;  // all are forgotten when one more comes

  const Options options_;
  Mutex mutex_;
  std::shared_ptr<const Own> own_ GUARDED_BY(mutex_);
  std::map<std::string, net::Certificate> signers_ GUARDED_BY(mutex_);  // by DER; issued to a node
};

// The sums that a payload holds, whoever signed it. kInvalidArgument as above.
Result<AttestedSums> ParsePieceSums(const std::string& payload);

}  // namespace hearth::p2p
