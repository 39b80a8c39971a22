// Picker: which piece of one blob to ask a source for next.
//
// Rarest first among what the neighbours have, the reader's next window before everything else.
// Plain state: no I/O, no clock, no lock; whoever owns it guards it. The same seed and calls give
// the same picks. Pieces out of range and sources never added are bugs of the caller (CHECK).
//
// In a swarm that goes well most neighbours have nothing new at most times: how many pieces each
// could be asked for is counted as they come and go, so that only who has some is looked at.
#pragma once

#include <array>
#include <bit>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/piece.h"

namespace hearth::p2p {

// A source of one download, numbered by its owner from 0; small numbers, used again after removal.
enum class SourceId : uint32_t {};
// The origin's number. It "has" the pieces that this node may fetch from it (its leases).
inline constexpr SourceId kOriginSource{0};
// The origin and all neighbours of one blob.
inline constexpr uint32_t kMaxSources = 65;

// A set of pieces in words, for the scans below.
class PieceWords {
 public:
  PieceWords() = default;
  explicit PieceWords(uint32_t pieces) : words_((pieces + 63) / 64) {}
  bool Has(uint32_t piece) const { return (words_[piece / 64] >> (piece % 64) & 1) != 0; }
  void Set(uint32_t piece) { words_[piece / 64] |= uint64_t{1} << (piece % 64); }
  void Clear(uint32_t piece) { words_[piece / 64] &= ~(uint64_t{1} << (piece % 64)); }
  void SetTo(uint32_t piece, bool has) { has ? Set(piece) : Clear(piece); }
  const std::vector<uint64_t>& words() const { return words_; }

 private:
  std::vector<uint64_t> words_;
};

class Picker {
 public:
  // A piece is asked for from at most this many sources at once.
  static constexpr uint32_t kMaxRequestsPerPiece = 2;

  Picker(uint32_t pieces, uint64_t seed);

  // The piece is here and checked.
  void SetPresent(PieceIndex piece);
  bool IsPresent(PieceIndex piece) const { return present_.Has(Number(piece)); }
  // It is here, and nobody vouches for it: this node cannot tell others of it. The origin is asked
  // for it again under a lease, nobody else. Until SetPresent().
  void SetKept(PieceIndex piece);
  bool IsKept(PieceIndex piece) const { return IsKept(Number(piece)); }
  uint32_t kept() const { return kept_pieces_; }
  uint32_t pieces() const { return pieces_; }
  uint32_t missing() const { return missing_; }
  // Pieces that are missing, or kept and leased, and nobody was asked for.
  uint32_t unasked() const { return unasked_; }

  // The origin does not count when the rarest piece is looked for.
  void AddSource(SourceId source);
  void RemoveSource(SourceId source);
  void SourceHas(SourceId source, PieceIndex piece);
  void SourceLost(SourceId source, PieceIndex piece);
  bool Has(SourceId source, PieceIndex piece) const;
  // Neighbours that have the piece.
  uint32_t Holders(PieceIndex piece) const { return HoldersOf(Number(piece)); }
  // Neighbours that have a piece which is missing and nobody was asked for: n is bit n - 1.
  uint64_t Offering() const { return offering_; }
  bool Offers(SourceId peer) const { return (offering_ & BitOf(peer)) != 0; }

  // `source` was asked for the piece; that request ended, however it did.
  void Asked(SourceId source, PieceIndex piece);
  void Ended(SourceId source, PieceIndex piece);
  uint32_t Requests(PieceIndex piece) const { return requests_[Number(piece)]; }

  // What a reader waits for, or will next; {0, 0} = nobody reads.
  void SetWindow(PieceRun window) { window_ = window; }
  bool InWindow(PieceIndex piece) const {
    return Number(piece) >= window_.begin() && Number(piece) < window_.end();
  }

  // A piece that `source` has, nobody was asked for and we lack: the first of the window, else the
  // rarest, of equals a random one.
  std::optional<PieceIndex> Pick(SourceId source);
  // The same as a run of at most `most` pieces, for a source whose requests are dear.
  std::optional<PieceRun> PickRun(SourceId source, uint32_t most);
  // Any piece that is missing and nobody was asked for.
  std::optional<PieceIndex> RandomMissing();

  // One character per piece: 1 here, r asked for, . missing.
  std::string Picture() const;

 private:
  static_assert(kMaxSources == 65, "the origin, and a bit of held_by_ for each neighbour");
  struct Source {
    bool added = false;
    std::vector<uint32_t> asked;  // at most the depth of requests
  };

  static uint32_t Number(PieceIndex piece) { return static_cast<uint32_t>(piece); }
  static uint64_t BitOf(SourceId peer) { return uint64_t{1} << (static_cast<uint32_t>(peer) - 1); }
  uint32_t HoldersOf(uint32_t piece) const {
    return static_cast<uint32_t>(std::popcount(held_by_[piece]));
  }
  Source& At(SourceId source);
  const Source& At(SourceId source) const;
  bool Has(SourceId source, uint32_t piece) const {
    return source == kOriginSource ? leased_.Has(piece) : (held_by_[piece] & BitOf(source)) != 0;
  }
  bool IsFree(SourceId source, uint32_t piece) const {
    return wanted_.Has(piece) && Has(source, piece) && MayGive(source, piece);
  }
  bool MayGive(SourceId source, uint32_t piece) const {
    return source == kOriginSource || !IsKept(piece);
  }
  bool IsKept(uint32_t piece) const { return kept_pieces_ > 0 && kept_.Has(piece); }
  bool IsLacking(uint32_t piece) const;
  void SetWanted(uint32_t piece, bool wanted);
  void SetHas(SourceId source, uint32_t piece, bool has);
  void Offer(SourceId source, bool more);
  std::optional<uint32_t> Rarest(SourceId source);
  uint64_t Random();

  const uint32_t pieces_;
  uint32_t missing_;
  uint32_t unasked_;
  uint32_t kept_pieces_ = 0;
  PieceWords present_;
  PieceWords kept_;                // of them, that nobody vouches for
  PieceWords wanted_;              // missing, or kept and leased, and not asked for
  PieceWords leased_;              // that the origin has
  PieceWords held_;                // that any neighbour has
  std::vector<uint8_t> requests_;  // per piece
  std::vector<uint64_t> held_by_;  // per piece, neighbours
  std::vector<Source> sources_;
  std::array<uint32_t, kMaxSources> free_{};  // per source, pieces that it has and are wanted
  uint64_t offering_ = 0;                     // the neighbours of whom that is not 0
  PieceRun window_;
  uint64_t random_;
};

}  // namespace hearth::p2p
