#include "manager/blame.h"

#include <algorithm>

namespace hearth::manager {

bool Blame::Accuse(NodeId accuser, NodeId accused, const std::vector<uint32_t>& neighbours,
                   size_t others, SteadyTime now) {
  if (accuser == accused || IsBanned(accused) || IsBanned(accuser)) return false;
  if (!accused_.contains(Number(accused)) && accused_.size() >= kMaxAccused) {
    accused_.erase(std::ranges::min_element(accused_, {},
                                            [](const auto& entry) { return entry.second.last; }));
  }
  Case& found = accused_[Number(accused)];
  found.last = now;
  if (std::ranges::find(neighbours, Number(accuser)) == neighbours.end()) return false;
  const bool known = std::ranges::find(found.accusers, Number(accuser)) != found.accusers.end();
  if (!known && found.accusers.size() < kMaxAccusers) found.accusers.push_back(Number(accuser));
  const size_t voters = std::max(neighbours.size(), std::min(others, kFewNeighbours));
  if (found.accusers.size() < kMinAccusers || 2 * found.accusers.size() <= voters) return false;
  Ban(accused, now);
  return true;
}

void Blame::Ban(NodeId node, SteadyTime now) {
  if (!IsBanned(node) && banned_.size() >= kMaxBanned) {
    banned_.erase(
        std::ranges::min_element(banned_, {}, [](const auto& entry) { return entry.second; }));
  }
  banned_.try_emplace(Number(node), now);
}

void Blame::Unban(NodeId node) {
  banned_.erase(Number(node));
  accused_.erase(Number(node));
}

void Blame::Tick(SteadyTime now) {
  std::erase_if(accused_,
                [&](const auto& entry) { return now - entry.second.last >= kAccusedFor; });
}

std::vector<NodeId> Blame::Banned() const {
  std::vector<NodeId> nodes;
  for (const auto& [node, since] : banned_) nodes.push_back(NodeId{node});
  std::ranges::sort(nodes);
  return nodes;
}

std::vector<Blame::Accused> Blame::AllAccused() const {
  std::vector<Accused> all;
  for (const auto& [node, found] : accused_) {
    all.push_back({NodeId{node}, found.accusers, found.last});
  }
  std::ranges::sort(all, {}, &Accused::node);
  return all;
}

}  // namespace hearth::manager
