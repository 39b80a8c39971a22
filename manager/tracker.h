// Tracker: who wants which blob, who is whose neighbour, and who fetches what from the origin.
//
// Plain state: events and the time go in, actions come out of Take(); no I/O, no clock, no lock.
// Whoever owns it guards it. The same seed and events give the same actions. All of it is soft: a
// node that enters again with its bitmap and tells its blobs rebuilds what a restart lost.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/clock.h"
#include "base/digest.h"
#include "base/piece.h"
#include "base/piece_sum.h"
#include "base/status.h"
#include "manager/blame.h"
#include "manager/crowd.h"
#include "manager/inventory.h"
#include "manager/lease_book.h"
#include "manager/member.h"
#include "manager/sum_ledger.h"

namespace hearth::manager {

struct TrackerAction {
  enum class Kind : uint8_t {
    kNeighbours,  // `to` may connect to `neighbours` for `blob`, beside those told before
    kLease,       // `to`, and nobody else now, fetches `run` from the origin
    kRevoke,      // it does no longer
    kSums,        // of `sums` enough nodes that fetched the pieces say the same
    kBanned,      // `to` is banned: tell every node
  };
  Kind kind;
  NodeId to{};
  Digest blob{};
  std::vector<NodeId> neighbours{};
  PieceRun run{};
  std::vector<PieceSum> sums{};
};

class Tracker {
 public:
  static constexpr size_t kMaxNeighbours = Crowd::kMaxNeighbours;
  static constexpr size_t kMaxDegree = Crowd::kMaxDegree;
  static constexpr std::chrono::seconds kLeaseStall = LeaseBook::kStall;
  static constexpr size_t kMaxSwarms = 20'000;
  static constexpr uint64_t kMaxPieces = 1 << 20;  // of all swarms
  static constexpr size_t kMaxNodes = 20'000;
  static constexpr size_t kMaxMembers = kMaxNodes;  // of one swarm
  static constexpr size_t kMaxSwarmsOfNode = 4096;  // at once
  static constexpr size_t kMaxSeeds = 64;           // holders of the whole blob, of one swarm

  struct Options {
    uint64_t seed = 0;
    uint64_t min_lease_bytes = 1 << 20;
    uint64_t max_lease_bytes = 8 << 20;
    size_t max_leases = 64;  // of one blob at once
  };
  explicit Tracker(uint64_t seed) : Tracker(Options{seed}) {}
  explicit Tracker(Options options);

  struct Join {
    NodeId node{};
    Labels labels;
    Digest blob;
    uint64_t size_bytes = 0;
    PieceBitmap present;          // what it has already
    bool origin_accepts = false;  // its credentials
    bool judged = true;           // the blob's digest is known; the first to enter decides
    PieceBitmap kept{};           // of `present`, what it cannot tell others of; of size 0 = none
  };
  // Of a member too, after a restart, say: neighbours and lease are told again, nothing is doubled.
  // kInvalidArgument: no such size or bitmap; kPermissionDenied: banned; kResourceExhausted.
  Status Enter(const Join& join, SteadyTime now);
  // One that holds the whole blob by now (Holds) stays as a seed.
  void Leave(NodeId node, const Digest& blob, SteadyTime now);
  // It left the cluster, or its connection broke for longer than its owner waits: out of all swarms
  // and of the inventory.
  void NodeGone(NodeId node, SteadyTime now);

  // Leased pieces are at their holder. Of anybody else, or unleased: ignored.
  void PieceFetched(NodeId node, const Digest& blob, PieceIndex piece, SteadyTime now);
  void PiecesFetched(NodeId node, const Digest& blob, std::span<const PieceRun> runs,
                     SteadyTime now);
  // The node finds the pieces nowhere. Leased again where their fetcher has left, or a second node
  // says so; else they are under way.
  void PiecesMissing(NodeId node, const Digest& blob, std::span<const PieceRun> runs,
                     SteadyTime now);
  // The same of nobody in particular: only where the fetcher has left.
  void PieceMissing(const Digest& blob, PieceIndex piece, SteadyTime now);
  // What a node that fetched leased pieces says they hash to; of others: ignored. For a blob
  // without a digest, and after a mismatch, enough must agree before the members are told (kSums).
  // Where they differ one more fetches; who is outvoted gets no more leases, and without a digest,
  // where nothing else can tell, is banned.
  void Attested(NodeId node, const Digest& blob, std::span<const PieceSum> sums, SteadyTime now);

  // The node has every piece and the blob's digest disagrees; it enters again. When half of those
  // who still want the blob say so each piece is fetched again by another node, until one more than
  // before agree on its sum.
  void DigestMismatch(NodeId node, const Digest& blob, SteadyTime now);

  // The origin refuses this node's credentials; or takes them (again).
  void OriginRefused(NodeId node, const Digest& blob, SteadyTime now);
  void OriginAccepts(NodeId node, const Digest& blob, SteadyTime now);
  // The origin does not answer this node: another gets its lease, it waits LeaseBook::kAwayPause.
  void OriginAway(NodeId node, const Digest& blob, SteadyTime now);
  // The origin has no ranges: from now on one node fetches all that is left.
  void OriginWithoutRanges(const Digest& blob, SteadyTime now);

  // The node holds these blobs entirely and serves them; or does no longer. Independent of swarms.
  Status Holds(NodeId node, const Labels& labels, std::span<const Digest> blobs, SteadyTime now);
  void HoldsNot(NodeId node, std::span<const Digest> blobs, SteadyTime now);
  const Inventory& inventory() const { return inventory_; }

  // `accuser` got wrong bytes or a wrong sum from `accused`. See Blame for when that bans.
  void Accuse(NodeId accuser, NodeId accused, const Digest& blob, SteadyTime now);
  // In no swarm from now on, until Unban().
  void Ban(NodeId node, SteadyTime now);
  void Unban(NodeId node) { blame_.Unban(node); }
  const Blame& blame() const { return blame_; }

  void Tick(SteadyTime now);  // at least once a second
  std::vector<TrackerAction> Take();

  struct MemberView {  // for display
    NodeId node{};
    bool origin_accepts = false;
    bool seed = false;  // holds the whole blob and did not enter
    size_t neighbours = 0;
  };
  struct SwarmView {
    Digest blob;
    uint64_t size_bytes = 0;
    uint64_t piece_size_bytes = 0;
    uint32_t pieces = 0;
    uint32_t fetched = 0;  // from the origin, or brought by a member
    bool ranges = true;
    bool judged = true;
    std::vector<MemberView> members;  // sorted by node
    std::vector<LeaseBook::Lease> leases;
  };
  std::optional<SwarmView> View(const Digest& blob) const;
  std::vector<Digest> Swarms() const;  // sorted
  size_t nodes() const { return nodes_.size(); }

 private:
  struct Member {
    bool origin_accepts = false;
    bool seed = false;
    uint32_t round = 0;     // SumLedger::need() when it entered
    bool mismatch = false;  // found in that round
  };
  struct Swarm {
    uint64_t size_bytes = 0;
    LeaseBook book;
    Crowd crowd;
    std::map<uint32_t, Member> members;  // and seeds
    size_t seeds = 0;
    SumLedger ledger;
    bool judged = true;
    bool grown = false;  // since the last tick
  };
  struct Node {
    Labels labels;
    std::vector<Digest> swarms;  // entered
  };

  Result<Swarm*> SwarmFor(const Join& join);
  Status Know(NodeId node, const Labels& labels);
  void AddSeed(Swarm& swarm, NodeId node);
  void LinkMore(const Digest& blob, Swarm& swarm);
  void TellNeighbours(const Digest& blob, NodeId node, const std::vector<uint32_t>& nodes);
  void TellSums(const Digest& blob, const Swarm& swarm, const std::vector<PieceSum>& sums);
  void BeginNextRound(const Digest& blob, Swarm& swarm);
  void Outvote(const Digest& blob, Swarm& swarm, const std::vector<NodeId>& nodes, SteadyTime now);
  void TellLease(const Digest& blob, Swarm& swarm, NodeId node);
  void Flush(const Digest& blob, Swarm& swarm, SteadyTime now);
  void Finished(const Digest& blob, NodeId node, SteadyTime now);
  void Remove(const Digest& blob, NodeId node, SteadyTime now);
  Swarm* Find(const Digest& blob);
  uint64_t Random();

  const Options options_;
  std::unordered_map<Digest, Swarm> swarms_;
  uint64_t pieces_ = 0;  // of all swarms
  std::unordered_map<uint32_t, Node> nodes_;
  Inventory inventory_;
  Blame blame_;
  std::vector<TrackerAction> actions_;
  uint64_t random_;
};

}  // namespace hearth::manager
