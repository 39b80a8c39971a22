// Crowd: the members of one swarm by where they stand, and who is whose neighbour.
//
// Plain state, part of the Tracker: no I/O, no clock, no lock. A choice costs the same in a swarm
// of ten and of ten thousand.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <unordered_map>
#include <vector>

#include "manager/member.h"

namespace hearth::manager {

class Crowd {
 public:
  static constexpr size_t kMaxNeighbours = 20;   // chosen for one that joins
  static constexpr size_t kManyNeighbours = 36;  // enough to get as much as everybody
  static constexpr size_t kFarNeighbours = 4;    // of them, random ones whatever the distance
  static constexpr size_t kMaxDegree = 60;       // with those that chose the node

  void Add(NodeId node, const Labels& labels);
  void Remove(NodeId node);
  bool Has(NodeId node) const { return members_.contains(Number(node)); }
  size_t size() const { return members_.size(); }

  // Gives the node up to `wanted`, near ones first and the last few from anywhere, so that racks
  // hang together, and rather those that have few; those that it has already count. Returns the new
  // ones.
  std::vector<uint32_t> Choose(NodeId node, const std::function<uint64_t()>& random, size_t wanted);
  // Empty for a node that is not here.
  const std::vector<uint32_t>& Neighbours(NodeId node) const;

 private:
  static constexpr size_t kLevels = 4;  // rack, zone, region, everywhere
  struct Member {
    std::array<uint64_t, kLevels> groups{};
    std::array<uint32_t, kLevels> places{};  // in the groups
    std::vector<uint32_t> neighbours;
  };

  // Up to `most` of the group that the node may still have as neighbours.
  void Sample(uint32_t node, size_t level, size_t most, const std::function<uint64_t()>& random,
              std::vector<uint32_t>& chosen);
  void Link(uint32_t a, uint32_t b);

  std::unordered_map<uint32_t, Member> members_;
  std::array<std::unordered_map<uint64_t, std::vector<uint32_t>>, kLevels> groups_;
};

}  // namespace hearth::manager
