// Blame: which nodes are accused of wrong bytes or sums, by whom, and which are banned.
//
// Plain state, part of the Tracker: no I/O, no clock, no lock. One node's word bans nobody, else a
// liar could have honest nodes banned one by one: it takes more than half of the neighbours that
// the tracker gave the accused, and no fewer than of a swarm that the whole cluster is in. Else a
// liar would enter a swarm that nobody else is in, and have its holders banned. Whoever accuses has
// already stopped asking the accused. A ban lasts until it is lifted: what was wrong with the node
// does not mend by itself.
#pragma once

#include <chrono>
#include <cstdint>
#include <unordered_map>
#include <vector>

#include "base/clock.h"
#include "manager/member.h"

namespace hearth::manager {

class Blame {
 public:
  static constexpr size_t kMaxBanned = 20'000;   // the oldest makes room
  static constexpr size_t kMaxAccused = 20'000;  // the oldest makes room
  static constexpr size_t kMaxAccusers = 64;     // kept of one accused
  static constexpr size_t kMinAccusers = 2;
  static constexpr size_t kFewNeighbours = 24;  // counted as so many, where there are such nodes
  static constexpr std::chrono::hours kAccusedFor{1};

  struct Accused {
    NodeId node{};
    std::vector<uint32_t> accusers;
    SteadyTime last{};
  };

  // True: the node is banned by this. `neighbours` of the accused; only they count. `others`: how
  // many nodes the cluster has beside it.
  bool Accuse(NodeId accuser, NodeId accused, const std::vector<uint32_t>& neighbours,
              size_t others, SteadyTime now);
  void Ban(NodeId node, SteadyTime now);
  void Unban(NodeId node);
  bool IsBanned(NodeId node) const { return banned_.contains(Number(node)); }
  void Tick(SteadyTime now);

  std::vector<NodeId> Banned() const;       // sorted
  std::vector<Accused> AllAccused() const;  // sorted by node; for display

 private:
  struct Case {
    std::vector<uint32_t> accusers;
    SteadyTime last{};
  };
  std::unordered_map<uint32_t, Case> accused_;
  std::unordered_map<uint32_t, SteadyTime> banned_;  // since
};

}  // namespace hearth::manager
