// Tracker: who wants which blob, who is whose neighbour, and who fetches what from the origin.
//
// Plain state: events and the time go in, actions come out of Take(); no I/O, no clock, no lock.
// Whoever owns it guards it. The same seed and events give the same actions. All of it is soft: a
// node that joins again with its bitmap rebuilds what a restart lost.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "base/clock.h"
#include "base/digest.h"
#include "base/piece.h"
#include "base/status.h"

namespace hearth::manager {

enum class NodeId : uint32_t {};

// Where a node stands; "" = not known.
struct Labels {
  std::string region;
  std::string zone;
  std::string rack;
};
// 0 same rack, 1 same zone, 2 same region, 3 anywhere else.
int LabelDistance(const Labels& a, const Labels& b);

struct TrackerAction {
  enum class Kind : uint8_t {
    kNeighbours,  // `to` may connect to `neighbours` for `blob`
    kLease,       // `to`, and nobody else now, fetches `run` from the origin
    kRevoke,      // it does no longer
  };
  Kind kind;
  NodeId to{};
  Digest blob;
  std::vector<NodeId> neighbours;
  PieceRun run;
};

class Tracker {
 public:
  static constexpr size_t kMaxNeighbours = 16;
  static constexpr size_t kFarNeighbours = 4;    // of them, random ones whatever the distance
  static constexpr size_t kMaxDegree = 48;       // with those that chose the node
  static constexpr size_t kMaxMembers = 20'000;  // of one swarm
  static constexpr uint64_t kLeaseBytes = 8 << 20;
  static constexpr size_t kMaxLeases = 8;                 // of one blob at once
  static constexpr std::chrono::seconds kLeaseStall{10};  // no piece: it is given to another

  explicit Tracker(uint64_t seed) : random_(seed * 0x9e3779b97f4a7c15 + 1) {}

  struct Join {
    NodeId node{};
    Labels labels;
    Digest blob;
    uint64_t size_bytes = 0;
    PieceBitmap present;          // what it has already
    bool origin_accepts = false;  // its credentials
  };
  // kInvalidArgument: no such size or bitmap; kPermissionDenied: banned; kResourceExhausted.
  Status Enter(const Join& join, SteadyTime now);
  void Leave(NodeId node, const Digest& blob, SteadyTime now);
  // A leased piece is at its holder. Of anybody else, or unleased: ignored.
  void PieceFetched(NodeId node, const Digest& blob, PieceIndex piece, SteadyTime now);
  // The node finds the piece nowhere. Leased again where its fetcher has left; else it is under
  // way.
  void PieceMissing(const Digest& blob, PieceIndex piece, SteadyTime now);
  // The origin refuses this node's credentials.
  void OriginRefused(NodeId node, const Digest& blob, SteadyTime now);
  // The origin has no ranges: from now on one node fetches all that is left.
  void OriginWithoutRanges(const Digest& blob, SteadyTime now);
  // In no swarm from now on.
  void Ban(NodeId node, SteadyTime now);
  void Tick(SteadyTime now);

  std::vector<TrackerAction> Take();

 private:
  struct Member {
    Labels labels;
    bool origin_accepts = false;
    std::unordered_set<uint32_t> neighbours;
  };
  struct Lease {
    NodeId holder{};
    PieceRun run;
    SteadyTime last_piece{};
  };
  struct Swarm {
    uint64_t piece_size_bytes = 0;
    std::vector<bool> free;  // pieces that nobody fetches or has fetched
    std::vector<uint32_t> fetched_by;
    std::map<uint32_t, Member> members;
    std::vector<Lease> leases;
    uint32_t next_holder = 0;  // members take turns, by id
    bool ranges = true;
  };

  void ChooseNeighbours(Swarm& swarm, const Join& join);
  void GrantLeases(const Digest& blob, Swarm& swarm, SteadyTime now);
  bool GrantOne(const Digest& blob, Swarm& swarm, SteadyTime now);
  void Return(Swarm& swarm, const Lease& lease);
  void Remove(Swarm& swarm, NodeId node);
  uint64_t Random();

  std::unordered_map<Digest, Swarm> swarms_;
  std::unordered_set<uint32_t> banned_;
  std::vector<TrackerAction> actions_;
  uint64_t random_;
};

}  // namespace hearth::manager
