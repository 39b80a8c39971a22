// Attestations: what the pieces of one blob hash to, who says so, and who is to blame.
//
// Plain state of one transfer: no I/O, no clock, no lock; signatures are checked before Add().
// Every source promises a sum with each piece that it announces, and is asked for the piece only
// where that is the sum expected here. So bytes that hash to something else are the source's fault,
// and bytes that hash right but are found wrong later (by the origin or the blob's digest) are the
// attester's. Pieces out of range are ignored: they come from strangers.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <utility>
#include <vector>

#include "base/digest.h"
#include "base/piece_sum.h"
#include "p2p/picker.h"

namespace hearth::p2p {

// Whoever signed, numbered by the owner of the download.
enum class AttesterId : uint32_t {};

class Attestations {
 public:
  static constexpr size_t kMaxSumsPerPiece = 4;          // that differ
  static constexpr size_t kMaxAttestersPerSum = 8;       // more change nothing
  static constexpr size_t kMaxOtherPromises = 16 << 10;  // of other sums than the expected

  // `judged`: the blob has a digest, which finds what a false attestation let in; a first
  // attestation is believed until then. Else only sums that are settled.
  Attestations(uint32_t pieces, bool judged) : judged_(judged), pieces_(pieces) {}

  enum class Added : uint8_t { kNew, kKnown, kConflict, kIgnored };
  // kConflict: kept, but another sum of the piece came first; one of the attesters lies.
  // kIgnored: distrusted, out of range, too many.
  Added Add(AttesterId attester, const PieceSum& told);
  // The sum is true: this node fetched the piece from the origin, or the tracker says that two
  // nodes which it picked agree. Returns the attesters that said something else; they are
  // distrusted.
  std::vector<AttesterId> Settle(const PieceSum& truth);
  // The blob's digest agreed with the bytes here: what they hash to is true.
  std::vector<AttesterId> SettleExpected();
  // Nothing that the attester alone said is believed any more. Returns the pieces whose expected
  // sum changed: what is here of them must be dropped (Download::Drop).
  std::vector<PieceIndex> Distrust(AttesterId attester);
  bool IsDistrusted(AttesterId attester) const { return distrusted_.contains(attester); }

  // Nothing: nobody (trusted) has said; the piece can come from the origin only.
  std::optional<Digest> Expected(PieceIndex piece) const;
  bool IsSettled(PieceIndex piece) const;
  // The attester whose word Expected() is; nothing when settled or unknown.
  std::optional<AttesterId> Attester(PieceIndex piece) const;

  // The source announces the piece. True: ask it (Download::PeerHas).
  bool Promise(SourceId source, const PieceSum& promised);
  void RemoveSource(SourceId source);
  // Sources whose promise of the piece became the expected one by Settle() or Distrust().
  std::vector<SourceId> Promisers(PieceIndex piece);

  // After a wrong digest: what to compare with the origin, at most `most`: pieces of which
  // attesters disagree, then one of each attester in turn, until every piece was named.
  std::vector<PieceIndex> Suspects(size_t most) const;

 private:
  struct Sum {
    Digest sum;
    std::vector<AttesterId> attesters;
  };
  struct Piece {
    std::vector<Sum> sums;  // as they came; the first one that somebody trusted stands for counts
    bool settled = false;   // then sums has that one only
  };

  Piece* Find(PieceIndex piece);
  const Piece* Find(PieceIndex piece) const;

  const bool judged_;
  std::vector<Piece> pieces_;
  std::set<AttesterId> distrusted_;
  std::map<std::pair<SourceId, PieceIndex>, Digest> other_promises_;
};

}  // namespace hearth::p2p
