// Attestations: what the pieces of one blob hash to, who says so, and who is to blame.
//
// Plain state of one transfer: no I/O, no clock, no lock; signatures are checked before Add().
// Every source promises a sum with each piece that it announces, and is asked for the piece only
// where that is the sum expected here. So bytes that hash to something else are the source's fault,
// and bytes that hash right but are found wrong later (by the origin or the blob's digest) are the
// attester's. Pieces out of range are ignored: they come from strangers.
#pragma once

#include <cstdint>
#include <functional>
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
  enum class Belief : uint8_t {
    kFirstWord,  // the blob has a digest, which finds what a false attestation let in
    kSettled,    // only sums that are settled
  };
  static constexpr size_t kMaxSumsPerPiece = 4;          // that differ
  static constexpr size_t kMaxAttestersPerSum = 8;       // more change nothing
  static constexpr size_t kMaxOtherPromises = 16 << 10;  // of other sums than the expected

  Attestations(uint32_t pieces, Belief belief) : belief_(belief), pieces_(pieces) {}
  // What is known still holds, when the blob's digest disagreed and everything begins anew; but
  // only settled sums are believed, and sources have yet to promise.
  Attestations ForNextTry() const;

  enum class Added : uint8_t { kNew, kKnown, kConflict, kIgnored };
  // kConflict: kept, but another sum of the piece came first; one of the attesters lies.
  // kIgnored: distrusted, out of range, too many.
  Added Add(AttesterId attester, const PieceSum& told);
  // The sum is true: this node fetched the piece from the origin. Returns the attesters that said
  // something else; they are distrusted.
  std::vector<AttesterId> Settle(const PieceSum& truth);
  // The tracker says that enough nodes which it picked agree. It changes nothing where this node
  // knows the truth. True: another sum was expected until now, so that what is here of the piece,
  // asked for or promised is false.
  [[nodiscard]] bool Agree(const PieceSum& told);
  struct Contradiction {
    AttesterId attester{};
    PieceSum truth;  // of a piece that it attested another sum of
  };
  // The blob's digest agreed with the bytes here: what is expected of the pieces that were
  // `checked` against it is true. Names each attester once that said something else.
  std::vector<Contradiction> Verified(const std::function<bool(PieceIndex)>& checked);
  bool IsDistrusted(AttesterId attester) const { return distrusted_.contains(attester); }

  // Nothing: nobody (trusted) has said; the piece can come from the origin only.
  std::optional<Digest> Expected(PieceIndex piece) const;
  enum class Settled : uint8_t {
    kNo,
    kAgreed,  // by others; all of them may lie
    kTrue,
  };
  Settled settled(PieceIndex piece) const;

  // The source announces the piece. True: ask it (Download::PeerHas).
  bool Promise(SourceId source, const PieceSum& promised);
  void RemoveSource(SourceId source);
  // Sources whose promise of the piece became the expected one since; told once.
  std::vector<SourceId> Promisers(PieceIndex piece);

 private:
  struct Sum {
    Digest sum;
    std::vector<AttesterId> attesters;
  };
  struct Piece {
    std::vector<Sum> sums;  // as they came, behind the settled one; the first one counts
    Settled settled = Settled::kNo;
  };

  Piece* Find(PieceIndex piece);
  const Piece* Find(PieceIndex piece) const;

  Belief belief_;
  std::vector<Piece> pieces_;
  std::set<AttesterId> distrusted_;
  std::map<std::pair<SourceId, PieceIndex>, Digest> other_promises_;
};

}  // namespace hearth::p2p
