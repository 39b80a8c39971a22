#include "manager/tracker.h"

#include <algorithm>
#include <utility>

namespace hearth::manager {

namespace {

constexpr uint32_t kNobody = UINT32_MAX;

uint32_t Number(NodeId node) { return static_cast<uint32_t>(node); }

}  // namespace

int LabelDistance(const Labels& a, const Labels& b) {
  if (a.region != b.region) return 3;
  if (a.zone != b.zone) return 2;
  return a.rack == b.rack ? 0 : 1;
}

Status Tracker::Enter(const Join& join, SteadyTime now) {
  if (banned_.contains(Number(join.node))) {
    return PermissionDenied("node " + std::to_string(Number(join.node)) + " is banned");
  }
  const uint64_t piece_size = PieceSizeFor(join.size_bytes);
  const uint32_t pieces = PieceCount(join.size_bytes, piece_size);
  if (pieces == 0 || join.present.size() != pieces) {
    return InvalidArgument("a bitmap of " + std::to_string(join.present.size()) +
                           " pieces for a blob of " + std::to_string(pieces));
  }
  const auto [entry, created] = swarms_.try_emplace(join.blob);
  Swarm& swarm = entry->second;
  if (created) {
    swarm.piece_size_bytes = piece_size;
    swarm.free.assign(pieces, true);
    swarm.fetched_by.assign(pieces, kNobody);
  } else if (swarm.free.size() != pieces || swarm.piece_size_bytes != piece_size) {
    return InvalidArgument("blob " + join.blob.ToString() + " has another size in this cluster");
  }
  if (swarm.members.size() >= kMaxMembers) return ResourceExhausted("the swarm is full");
  Remove(swarm, join.node);
  for (uint32_t piece = 0; piece < pieces; ++piece) {
    if (!join.present.Has(PieceIndex{piece}) || !swarm.free[piece]) continue;
    swarm.free[piece] = false;
    swarm.fetched_by[piece] = Number(join.node);
  }
  swarm.members[Number(join.node)] = {join.labels, join.origin_accepts, {}};
  ChooseNeighbours(swarm, join);
  GrantLeases(join.blob, swarm, now);
  return OkStatus();
}

// Near ones first, of equally near ones random ones; the last few from anywhere, so that racks
// hang together.
void Tracker::ChooseNeighbours(Swarm& swarm, const Join& join) {
  std::vector<std::pair<uint64_t, uint32_t>> order;  // distance and chance, node
  for (const auto& [node, member] : swarm.members) {
    if (node == Number(join.node) || member.neighbours.size() >= kMaxDegree) continue;
    const auto distance = static_cast<uint64_t>(LabelDistance(member.labels, join.labels));
    order.emplace_back(distance << 60 | Random() >> 4, node);
  }
  std::ranges::sort(order);
  const size_t near = std::min(order.size(), kMaxNeighbours - kFarNeighbours);
  for (size_t i = near; i < std::min(order.size(), kMaxNeighbours); ++i) {
    std::swap(order[i], order[i + Random() % (order.size() - i)]);
  }
  order.resize(std::min(order.size(), kMaxNeighbours));
  std::vector<NodeId> chosen;
  for (const auto& [rank, node] : order) {
    chosen.push_back(NodeId{node});
    swarm.members[node].neighbours.insert(Number(join.node));
    swarm.members[Number(join.node)].neighbours.insert(node);
  }
  actions_.push_back(
      {TrackerAction::Kind::kNeighbours, join.node, join.blob, std::move(chosen), {}});
}

void Tracker::PieceFetched(NodeId node, const Digest& blob, PieceIndex index, SteadyTime now) {
  const auto found = swarms_.find(blob);
  if (found == swarms_.end()) return;
  Swarm& swarm = found->second;
  const auto piece = static_cast<uint32_t>(index);
  const auto lease = std::ranges::find_if(swarm.leases, [&](const Lease& held) {
    return held.holder == node && piece >= held.run.begin() && piece < held.run.end();
  });
  if (lease == swarm.leases.end()) return;
  swarm.fetched_by[piece] = Number(node);
  lease->last_piece = now;
  for (uint32_t left = lease->run.begin(); left < lease->run.end(); ++left) {
    if (swarm.fetched_by[left] == kNobody) return;
  }
  swarm.leases.erase(lease);
  GrantLeases(blob, swarm, now);
}

void Tracker::PieceMissing(const Digest& blob, PieceIndex index, SteadyTime now) {
  const auto found = swarms_.find(blob);
  const auto piece = static_cast<uint32_t>(index);
  if (found == swarms_.end() || piece >= found->second.free.size()) return;
  Swarm& swarm = found->second;
  const uint32_t fetcher = swarm.fetched_by[piece];
  if (fetcher == kNobody || swarm.members.contains(fetcher)) return;
  swarm.fetched_by[piece] = kNobody;
  swarm.free[piece] = true;
  GrantLeases(blob, swarm, now);
}

void Tracker::GrantLeases(const Digest& blob, Swarm& swarm, SteadyTime now) {
  const size_t most = swarm.ranges ? kMaxLeases : 1;
  while (swarm.leases.size() < most && GrantOne(blob, swarm, now)) {
  }
}

// Members take turns; one that holds a lease waits until each has one.
bool Tracker::GrantOne(const Digest& blob, Swarm& swarm, SteadyTime now) {
  const auto first = std::ranges::find(swarm.free, true);
  if (first == swarm.free.end()) return false;
  auto holder = swarm.members.lower_bound(swarm.next_holder);
  for (size_t tried = 0;; ++tried, ++holder) {
    if (tried >= swarm.members.size()) return false;
    if (holder == swarm.members.end()) holder = swarm.members.begin();
    const bool holds = std::ranges::any_of(
        swarm.leases, [&](const Lease& lease) { return Number(lease.holder) == holder->first; });
    if (holder->second.origin_accepts && !holds) break;
  }
  const auto begin = static_cast<uint32_t>(first - swarm.free.begin());
  const uint64_t most = swarm.ranges ? std::max<uint64_t>(1, kLeaseBytes / swarm.piece_size_bytes)
                                     : swarm.free.size();
  uint32_t end = begin;
  while (end < swarm.free.size() && end - begin < most && swarm.free[end]) {
    swarm.free[end++] = false;
  }
  const PieceRun run{PieceIndex{begin}, end - begin};
  swarm.leases.push_back({NodeId{holder->first}, run, now});
  swarm.next_holder = holder->first + 1;
  actions_.push_back({TrackerAction::Kind::kLease, NodeId{holder->first}, blob, {}, run});
  return true;
}

void Tracker::Tick(SteadyTime now) {
  for (auto& [blob, swarm] : swarms_) {
    for (size_t i = 0; i < swarm.leases.size();) {
      const Lease lease = swarm.leases[i];
      if (now - lease.last_piece < kLeaseStall) {
        ++i;
        continue;
      }
      swarm.leases.erase(swarm.leases.begin() + static_cast<std::ptrdiff_t>(i));
      Return(swarm, lease);
      swarm.next_holder = Number(lease.holder) + 1;
      actions_.push_back({TrackerAction::Kind::kRevoke, lease.holder, blob, {}, lease.run});
    }
    GrantLeases(blob, swarm, now);
  }
}

void Tracker::Return(Swarm& swarm, const Lease& lease) {
  for (uint32_t piece = lease.run.begin(); piece < lease.run.end(); ++piece) {
    if (swarm.fetched_by[piece] == kNobody) swarm.free[piece] = true;
  }
}

void Tracker::OriginRefused(NodeId node, const Digest& blob, SteadyTime now) {
  const auto found = swarms_.find(blob);
  if (found == swarms_.end()) return;
  Swarm& swarm = found->second;
  const auto member = swarm.members.find(Number(node));
  if (member == swarm.members.end()) return;
  member->second.origin_accepts = false;
  for (size_t i = swarm.leases.size(); i-- > 0;) {
    if (swarm.leases[i].holder != node) continue;
    Return(swarm, swarm.leases[i]);
    swarm.leases.erase(swarm.leases.begin() + static_cast<std::ptrdiff_t>(i));
  }
  GrantLeases(blob, swarm, now);
}

void Tracker::OriginWithoutRanges(const Digest& blob, SteadyTime now) {
  const auto found = swarms_.find(blob);
  if (found == swarms_.end() || !found->second.ranges) return;
  Swarm& swarm = found->second;
  swarm.ranges = false;
  for (const Lease& lease : std::exchange(swarm.leases, {})) {
    Return(swarm, lease);
    actions_.push_back({TrackerAction::Kind::kRevoke, lease.holder, blob, {}, lease.run});
  }
  GrantLeases(blob, swarm, now);
}

void Tracker::Leave(NodeId node, const Digest& blob, SteadyTime now) {
  const auto found = swarms_.find(blob);
  if (found == swarms_.end()) return;
  Remove(found->second, node);
  if (found->second.members.empty()) {
    swarms_.erase(found);
    return;
  }
  GrantLeases(blob, found->second, now);
}

void Tracker::Ban(NodeId node, SteadyTime now) {
  banned_.insert(Number(node));
  std::vector<Digest> blobs;
  for (const auto& [blob, swarm] : swarms_) {
    if (swarm.members.contains(Number(node))) blobs.push_back(blob);
  }
  for (const Digest& blob : blobs) Leave(node, blob, now);
}

void Tracker::Remove(Swarm& swarm, NodeId node) {
  const auto member = swarm.members.find(Number(node));
  if (member == swarm.members.end()) return;
  for (const uint32_t neighbour : member->second.neighbours) {
    const auto other = swarm.members.find(neighbour);
    if (other != swarm.members.end()) other->second.neighbours.erase(Number(node));
  }
  swarm.members.erase(member);
  for (size_t i = swarm.leases.size(); i-- > 0;) {
    if (swarm.leases[i].holder != node) continue;
    Return(swarm, swarm.leases[i]);
    swarm.leases.erase(swarm.leases.begin() + static_cast<std::ptrdiff_t>(i));
  }
}

std::vector<TrackerAction> Tracker::Take() { return std::exchange(actions_, {}); }

// xorshift64*: small, and the same on every machine.
uint64_t Tracker::Random() {
  random_ ^= random_ >> 12;
  random_ ^= random_ << 25;
  random_ ^= random_ >> 27;
  return random_ * 0x2545f4914f6cdd1d;
}

}  // namespace hearth::manager
