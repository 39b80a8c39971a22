// Attestations as they come over the wire: signed lists of piece sums, read and checked.
#pragma once

#include <string>
#include <vector>

#include "base/clock.h"
#include "base/piece_sum.h"
#include "base/status.h"
#include "net/certificate.h"

namespace hearth::v1 {
class Attestation;
}

namespace hearth::manager {

struct ToldSums {
  Digest blob;
  uint64_t size_bytes = 0;
  std::vector<PieceSum> sums;
  int64_t signed_unix_seconds = 0;
};

// Of the key in `signer`. kInvalidArgument: malformed or too long; kUnauthenticated: the signature.
Result<ToldSums> ReadAttestation(const v1::Attestation& attestation,
                                 const net::Certificate& signer);

// Whether `proof` is the word of node `accused` for `piece` of `blob`, by a certificate that
// `authority` issued and that was valid when it signed. kUnauthenticated, kInvalidArgument: it is
// not.
Status CheckProof(const v1::Attestation& proof, const net::Certificate& authority,
                  const std::string& accused, const Digest& blob, uint32_t piece, WallTime now);

}  // namespace hearth::manager
