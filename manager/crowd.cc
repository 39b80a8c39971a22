#include "manager/crowd.h"

#include <algorithm>
#include <string>
#include <utility>

namespace hearth::manager {

namespace {

// A group is known by a hash of its name: two that collide are only taken for near.
std::array<uint64_t, 4> GroupsOf(const Labels& labels) {
  const std::hash<std::string> hash;
  const std::string zone = labels.region + '\n' + labels.zone;
  return {hash(zone + '\n' + labels.rack), hash(zone), hash(labels.region), 0};
}

}  // namespace

int LabelDistance(const Labels& a, const Labels& b) {
  if (a.region != b.region) return 3;
  if (a.zone != b.zone) return 2;
  return a.rack == b.rack ? 0 : 1;
}

void Crowd::Add(NodeId node, const Labels& labels) {
  Remove(node);
  Member& member = members_[Number(node)];
  member.groups = GroupsOf(labels);
  for (size_t level = 0; level < kLevels; ++level) {
    auto& group = groups_[level][member.groups[level]];
    member.places[level] = static_cast<uint32_t>(group.size());
    group.push_back(Number(node));
  }
}

void Crowd::Remove(NodeId node) {
  const auto found = members_.find(Number(node));
  if (found == members_.end()) return;
  const Member member = std::move(found->second);
  members_.erase(found);
  for (const uint32_t neighbour : member.neighbours) {
    std::erase(members_.at(neighbour).neighbours, Number(node));
  }
  for (size_t level = 0; level < kLevels; ++level) {
    const auto entry = groups_[level].find(member.groups[level]);
    auto& group = entry->second;
    const uint32_t place = member.places[level];
    if (place + 1 < group.size()) {
      group[place] = group.back();
      members_.at(group[place]).places[level] = place;
    }
    group.pop_back();
    if (group.empty()) groups_[level].erase(entry);
  }
}

std::vector<uint32_t> Crowd::Choose(NodeId node, const std::function<uint64_t()>& random,
                                    size_t wanted) {
  std::vector<uint32_t> chosen;
  const size_t has = Neighbours(node).size();
  if (!Has(node) || has >= wanted) return chosen;
  const size_t most = wanted - has;
  const size_t near = most - std::min(most, kFarNeighbours);
  for (size_t level = 0; level < kLevels && chosen.size() < near; ++level) {
    Sample(Number(node), level, near, random, chosen);
  }
  Sample(Number(node), kLevels - 1, most, random, chosen);
  return chosen;
}

// A small group is shuffled whole, in a large one a few draws find enough.
void Crowd::Sample(uint32_t node, size_t level, size_t most,
                   const std::function<uint64_t()>& random, std::vector<uint32_t>& chosen) {
  constexpr size_t kSmall = 64;
  const auto& group = groups_[level].at(members_.at(node).groups[level]);
  const auto take = [&](uint32_t candidate) {
    const Member& member = members_.at(candidate);
    if (candidate == node || member.neighbours.size() >= kMaxDegree) return;
    if (std::ranges::find(member.neighbours, node) != member.neighbours.end()) return;
    Link(node, candidate);
    chosen.push_back(candidate);
  };
  if (group.size() > kSmall) {
    const auto degree = [&](uint32_t candidate) {
      return members_.at(candidate).neighbours.size();
    };
    for (size_t tried = 0; tried < 2 * kSmall && chosen.size() < most; ++tried) {
      const uint32_t a = group[random() % group.size()];
      const uint32_t b = group[random() % group.size()];
      take(degree(a) < degree(b) ? a : b);
    }
    return;
  }
  std::vector<uint32_t> order = group;
  for (size_t i = 0; i < order.size() && chosen.size() < most; ++i) {
    std::swap(order[i], order[i + random() % (order.size() - i)]);
    take(order[i]);
  }
}

void Crowd::Link(uint32_t a, uint32_t b) {
  members_.at(a).neighbours.push_back(b);
  members_.at(b).neighbours.push_back(a);
}

const std::vector<uint32_t>& Crowd::Neighbours(NodeId node) const {
  static const std::vector<uint32_t> kNone;
  const auto found = members_.find(Number(node));
  return found == members_.end() ? kNone : found->second.neighbours;
}

}  // namespace hearth::manager
