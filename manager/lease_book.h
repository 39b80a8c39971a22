// LeaseBook: who fetches which pieces of one blob from the origin, so that each leaves it once.
//
// Plain state of one swarm, part of the Tracker: no I/O, no clock, no lock. Nodes that may hold a
// lease take turns; a node gets the next one when next to nothing is left of the one before, so
// that the origin's link is never idle in between. Leases are so long that each node gets about two
// of what is left: what is fresh starts its way from many uplinks at once, the origin answers no
// more requests than it must, and all holders end at about the same time. A blob without a judge
// (no digest) has every piece fetched by two nodes, so that their sums can be compared.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <set>
#include <span>
#include <unordered_map>
#include <vector>

#include "base/clock.h"
#include "base/piece.h"
#include "manager/member.h"

namespace hearth::manager {

class LeaseBook {
 public:
  struct Options {
    uint32_t pieces = 0;
    uint64_t piece_size_bytes = 0;
    uint64_t min_lease_bytes = 1 << 20;
    uint64_t max_lease_bytes = 8 << 20;
    size_t min_leases = 8;   // at once
    size_t max_leases = 64;  // where the origin is fast
    uint32_t copies = 1;     // nodes that fetch each piece
  };
  struct Lease {
    NodeId holder{};
    PieceRun run;
    SteadyTime last_piece{};
    uint32_t left = 0;  // pieces that have not come
    std::vector<bool> came;
  };
  struct Change {
    NodeId holder{};
    PieceRun run;
    bool granted = false;  // else taken back
  };
  static constexpr size_t kMaxFetchers = 8;             // remembered of a piece
  static constexpr std::chrono::seconds kYoung{1};      // nodes are still joining: short leases
  static constexpr uint64_t kAheadBytes = 512 * 1024;   // left of a lease when the next one comes
  static constexpr double kFirstGuess = 64e6;           // bytes a second of an origin not yet known
  static constexpr std::chrono::seconds kStall{10};     // no piece: it is given to another
  static constexpr std::chrono::seconds kAwayPause{5};  // of a node whose origin did not answer
  static constexpr std::chrono::seconds kAgainAfter{5};  // a piece with its fetcher, but not found
  static constexpr std::chrono::milliseconds kSpreads{500};  // by then others have a fresh piece

  explicit LeaseBook(Options options);

  // May the node hold a lease? Told again for a node that left and came back.
  void SetAccepts(NodeId node, bool accepts);
  // The node's origin does not answer: its lease goes to another, and it waits kAwayPause.
  void Away(NodeId node, SteadyTime now);
  // It left: its lease is free again, what it fetched stays fetched.
  void Leave(NodeId node);
  // It left without having all, and does not answer: what it fetched within kSpreads may be
  // nowhere else, and is free again too.
  void Lose(NodeId node, SteadyTime now);
  // It has these; what it once fetched and has not is nobody's. It cannot tell others of those that
  // are `kept`: they are as good as nobody's once one reports them missing.
  void Present(NodeId node, const PieceBitmap& present, const PieceBitmap& kept = PieceBitmap());
  // A holder outside the swarm has everything.
  void AllPresent(NodeId node);
  // False: not leased to the node.
  bool Fetched(NodeId node, PieceIndex piece, SteadyTime now);
  // `reporter` finds the piece nowhere. Free again at once where its fetcher is not `here`, else
  // when a second node says so and it has had the time to travel.
  void Missing(NodeId reporter, PieceIndex piece, bool fetcher_here, SteadyTime now);
  // Was the piece ever leased to the node?
  bool WasLeased(NodeId node, PieceIndex piece) const;
  // Fetched once more by somebody else: two attestations disagree.
  void Again(PieceIndex piece);
  // One node fetches all that is left.
  void WithoutRanges();
  void Tick(SteadyTime now);

  // Leases granted and taken back since the last call, in order.
  std::vector<Change> Take(SteadyTime now);

  uint32_t pieces() const { return options_.pieces; }
  uint64_t piece_size_bytes() const { return options_.piece_size_bytes; }
  uint32_t copies() const { return options_.copies; }
  bool ranges() const { return ranges_; }
  uint32_t fetched() const { return fetched_; }
  NodeId Fetcher(PieceIndex piece) const { return NodeId{fetched_by_[Number(piece)]}; }
  const std::vector<Lease>& leases() const { return leases_; }

 private:
  static uint32_t Number(PieceIndex piece) { return static_cast<uint32_t>(piece); }
  uint64_t LeasePieces(SteadyTime now) const;
  size_t MaxLeases() const;
  SteadyTime::duration StallTime() const;
  bool HasStalled(NodeId holder, SteadyTime now) const;
  bool GrantOne(SteadyTime now);
  uint64_t Left(NodeId node) const;
  uint64_t AheadPieces() const;
  std::optional<uint32_t> NextHolder(uint32_t piece) const;
  bool MayFetch(uint32_t node, uint32_t piece) const;
  void WantNoMore(uint32_t piece);
  void Free(uint32_t piece);
  void Forget(NodeId node, uint32_t piece);
  void MayFetchAgain(NodeId node, uint32_t piece);
  std::chrono::milliseconds Age(uint32_t piece, SteadyTime now) const;
  bool IsUnderWay(uint32_t piece) const;
  void Return(size_t lease);
  void ReturnAllOf(NodeId node, bool told);

  const Options options_;
  std::vector<uint8_t> wanted_;  // per piece: leases still to grant
  uint64_t left_;                // the sum of wanted_
  uint32_t first_wanted_ = 0;    // none before it
  std::vector<uint32_t> fetched_by_;
  std::vector<bool> untold_;                      // who fetched it cannot tell others
  std::vector<uint32_t> fetched_at_;              // ms, and around
  std::vector<uint32_t> missed_by_;               // the first that reported it missing
  std::vector<std::vector<uint32_t>> leased_to_;  // at most kMaxFetchers, the last ones
  uint32_t fetched_ = 0;
  std::set<uint32_t> ready_;  // accept, hold no lease, do not wait
  std::set<uint32_t> accepting_;
  std::unordered_map<uint32_t, SteadyTime> waiting_;
  std::vector<Lease> leases_;
  std::vector<Change> changes_;
  uint32_t next_holder_ = 0;
  std::optional<SteadyTime> first_grant_;
  SteadyTime last_fetched_{};
  double seconds_per_piece_;  // from the origin to anybody, smoothed
  bool ranges_ = true;
};

}  // namespace hearth::manager
