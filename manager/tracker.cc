#include "manager/tracker.h"

#include <algorithm>
#include <utility>

namespace hearth::manager {

Tracker::Tracker(Options options)
    : options_(options), random_(options.seed * 0x9e3779b97f4a7c15 + 1) {}

Status Tracker::Enter(const Join& join, SteadyTime now) {
  if (blame_.IsBanned(join.node)) {
    return PermissionDenied("node " + std::to_string(Number(join.node)) + " is banned");
  }
  Swarm* const swarm = TRY(SwarmFor(join));
  const bool known = swarm->members.contains(Number(join.node));
  if (!known && swarm->members.size() - swarm->seeds >= kMaxMembers) {
    return ResourceExhausted("the swarm is full");
  }
  TRY_STATUS(Know(join.node, join.labels));
  auto& entered = nodes_[Number(join.node)].swarms;
  if (std::ranges::find(entered, join.blob) == entered.end()) {
    if (entered.size() >= kMaxSwarmsOfNode) {
      return ResourceExhausted("node " + std::to_string(Number(join.node)) + " is in " +
                               std::to_string(entered.size()) + " swarms already");
    }
    entered.push_back(join.blob);
  }
  Member& member = swarm->members[Number(join.node)];
  swarm->seeds -= member.seed ? 1 : 0;
  // It tries again, in the same round or in one that another's mismatch began.
  const bool mismatch = member.mismatch && member.round == swarm->ledger.need();
  member = {join.origin_accepts, false, swarm->ledger.need(), mismatch};
  if (!known) swarm->crowd.Add(join.node, join.labels);
  swarm->book.SetAccepts(join.node, join.origin_accepts);
  swarm->book.Present(join.node, join.present, join.kept);
  (void)swarm->crowd.Choose(
      join.node, [this] { return Random(); }, Crowd::kMaxNeighbours);
  swarm->grown = true;
  TellNeighbours(join.blob, join.node, swarm->crowd.Neighbours(join.node));
  if (known) TellLease(join.blob, *swarm, join.node);
  if (swarm->ledger.need() > 1) {
    auto sums = swarm->ledger.AllAgreed();
    if (!sums.empty()) {
      actions_.push_back(
          {TrackerAction::Kind::kSums, join.node, join.blob, {}, {}, std::move(sums)});
    }
  }
  Flush(join.blob, *swarm, now);
  return OkStatus();
}

Result<Tracker::Swarm*> Tracker::SwarmFor(const Join& join) {
  const uint64_t piece_size = PieceSizeFor(join.size_bytes);
  const uint32_t pieces = PieceCount(join.size_bytes, piece_size);
  if (pieces == 0 || join.present.size() != pieces ||
      (join.kept.size() != 0 && join.kept.size() != pieces)) {
    return InvalidArgument("a bitmap of " + std::to_string(join.present.size()) +
                           " pieces for a blob of " + std::to_string(pieces));
  }
  if (Swarm* const swarm = Find(join.blob)) {
    if (swarm->size_bytes == join.size_bytes) return swarm;
    return InvalidArgument("blob " + join.blob.ToString() + " has another size in this cluster");
  }
  if (swarms_.size() >= kMaxSwarms || pieces_ + pieces > kMaxPieces) {
    return ResourceExhausted("the tracker has " + std::to_string(swarms_.size()) +
                             " swarms already");
  }
  const uint32_t copies = join.judged ? 1 : 2;
  LeaseBook book({.pieces = pieces,
                  .piece_size_bytes = piece_size,
                  .min_lease_bytes = options_.min_lease_bytes,
                  .max_lease_bytes = options_.max_lease_bytes,
                  .max_leases = options_.max_leases,
                  .copies = copies});
  Swarm made{join.size_bytes, std::move(book), {}, {}, 0, SumLedger(pieces, copies), join.judged};
  Swarm& swarm = swarms_.emplace(join.blob, std::move(made)).first->second;
  pieces_ += pieces;
  const auto holders = inventory_.Holders(join.blob);
  const size_t start = holders.empty() ? 0 : Random() % holders.size();
  for (size_t i = 0; i < std::min(holders.size(), kMaxSeeds); ++i) {
    AddSeed(swarm, NodeId{holders[(start + i) % holders.size()]});
  }
  return &swarm;
}

Status Tracker::Know(NodeId node, const Labels& labels) {
  if (!nodes_.contains(Number(node)) && nodes_.size() >= kMaxNodes) {
    return ResourceExhausted("the tracker knows " + std::to_string(nodes_.size()) +
                             " nodes already");
  }
  nodes_[Number(node)].labels = labels;
  return OkStatus();
}

void Tracker::AddSeed(Swarm& swarm, NodeId node) {
  if (swarm.seeds >= kMaxSeeds || swarm.members.contains(Number(node))) return;
  swarm.members[Number(node)] = {.seed = true};
  ++swarm.seeds;
  swarm.crowd.Add(node, nodes_[Number(node)].labels);
  swarm.book.AllPresent(node);
}

// Who joined last was chosen by nobody: of what its neighbours send it would get less than those
// that have more of them, and end behind all others.
void Tracker::LinkMore(const Digest& blob, Swarm& swarm) {
  for (const auto& [node, member] : swarm.members) {
    if (member.seed) continue;
    const auto more = swarm.crowd.Choose(
        NodeId{node}, [this] { return Random(); }, Crowd::kManyNeighbours);
    if (!more.empty()) TellNeighbours(blob, NodeId{node}, more);
  }
}

void Tracker::TellNeighbours(const Digest& blob, NodeId node, const std::vector<uint32_t>& nodes) {
  std::vector<NodeId> neighbours;
  for (const uint32_t neighbour : nodes) neighbours.push_back(NodeId{neighbour});
  actions_.push_back({TrackerAction::Kind::kNeighbours, node, blob, std::move(neighbours), {}, {}});
}

void Tracker::TellLease(const Digest& blob, Swarm& swarm, NodeId node) {
  for (const LeaseBook::Lease& lease : swarm.book.leases()) {
    if (lease.holder != node) continue;
    for (uint32_t i = 0; i < lease.run.count;) {
      uint32_t end = i;
      while (end < lease.run.count && !lease.came[end]) ++end;
      if (end > i) {
        actions_.push_back({TrackerAction::Kind::kLease,
                            node,
                            blob,
                            {},
                            {PieceIndex{lease.run.begin() + i}, end - i},
                            {}});
      }
      i = end + 1;
    }
  }
}

// Tells what changed in the swarm's leases.
void Tracker::Flush(const Digest& blob, Swarm& swarm, SteadyTime now) {
  for (const LeaseBook::Change& change : swarm.book.Take(now)) {
    const auto kind = change.granted ? TrackerAction::Kind::kLease : TrackerAction::Kind::kRevoke;
    actions_.push_back({kind, change.holder, blob, {}, change.run, {}});
  }
}

void Tracker::PieceFetched(NodeId node, const Digest& blob, PieceIndex piece, SteadyTime now) {
  const PieceRun run{piece, 1};
  PiecesFetched(node, blob, {&run, 1}, now);
}

void Tracker::PiecesFetched(NodeId node, const Digest& blob, std::span<const PieceRun> runs,
                            SteadyTime now) {
  Swarm* const swarm = Find(blob);
  if (swarm == nullptr) return;
  for (const PieceRun& run : runs) {
    const uint32_t end = std::min(run.end(), swarm->book.pieces());
    for (uint32_t piece = run.begin(); piece < end; ++piece) {
      (void)swarm->book.Fetched(node, PieceIndex{piece}, now);
    }
  }
  Flush(blob, *swarm, now);
}

void Tracker::PiecesMissing(NodeId node, const Digest& blob, std::span<const PieceRun> runs,
                            SteadyTime now) {
  Swarm* const swarm = Find(blob);
  if (swarm == nullptr || !swarm->members.contains(Number(node))) return;
  for (const PieceRun& run : runs) {
    const uint32_t end = std::min(run.end(), swarm->book.pieces());
    for (uint32_t piece = run.begin(); piece < end; ++piece) {
      const PieceIndex index{piece};
      const NodeId fetcher = swarm->book.Fetcher(index);
      // Once its digest was wrong nobody takes a piece that too few agree on, whoever has it.
      const bool doubted = swarm->ledger.need() > 1 && swarm->ledger.Agreed(index) == nullptr;
      const bool here = swarm->members.contains(Number(fetcher)) && fetcher != node;
      swarm->book.Missing(node, index, here && !(swarm->judged && doubted), now);
    }
  }
  Flush(blob, *swarm, now);
}

void Tracker::PieceMissing(const Digest& blob, PieceIndex piece, SteadyTime now) {
  Swarm* const swarm = Find(blob);
  if (swarm == nullptr || static_cast<uint32_t>(piece) >= swarm->book.pieces()) return;
  const NodeId fetcher = swarm->book.Fetcher(piece);
  if (swarm->members.contains(Number(fetcher))) return;
  swarm->book.Missing(NodeId{kNobody}, piece, false, now);
  Flush(blob, *swarm, now);
}

void Tracker::Attested(NodeId node, const Digest& blob, std::span<const PieceSum> sums,
                       SteadyTime now) {
  Swarm* const swarm = Find(blob);
  if (swarm == nullptr) return;
  std::vector<PieceSum> agreed;
  std::vector<NodeId> outvoted;
  for (const PieceSum& told : sums) {
    if (!swarm->book.WasLeased(node, told.piece)) continue;
    switch (swarm->ledger.Add(node, told)) {
      case SumLedger::Outcome::kAgreed:
        agreed.push_back(told);
        std::ranges::copy(swarm->ledger.Outvoted(told.piece), std::back_inserter(outvoted));
        break;
      case SumLedger::Outcome::kContested:
        swarm->book.Again(told.piece);
        break;
      case SumLedger::Outcome::kWrong:
        outvoted.push_back(node);
        break;
      case SumLedger::Outcome::kKept:
      case SumLedger::Outcome::kIgnored:
        break;
    }
  }
  if (swarm->ledger.need() > 1 && !agreed.empty()) TellSums(blob, *swarm, agreed);
  Outvote(blob, *swarm, outvoted, now);
}

void Tracker::TellSums(const Digest& blob, const Swarm& swarm, const std::vector<PieceSum>& sums) {
  for (const auto& [node, member] : swarm.members) {
    if (member.seed) continue;
    actions_.push_back({TrackerAction::Kind::kSums, NodeId{node}, blob, {}, {}, sums});
  }
}

// With a digest the many may be wrong: each node judges by it and accuses whom it finds.
void Tracker::Outvote(const Digest& blob, Swarm& swarm, const std::vector<NodeId>& nodes,
                      SteadyTime now) {
  for (const NodeId node : nodes) {
    if (swarm.judged) swarm.book.SetAccepts(node, false);
  }
  const bool ban = !swarm.judged;
  Flush(blob, swarm, now);
  for (const NodeId node : nodes) {
    if (ban && !blame_.IsBanned(node)) Ban(node, now);
  }
}

void Tracker::DigestMismatch(NodeId node, const Digest& blob, SteadyTime now) {
  Swarm* const swarm = Find(blob);
  if (swarm == nullptr || !swarm->judged) return;
  const auto member = swarm->members.find(Number(node));
  if (member == swarm->members.end() || member->second.seed) return;
  if (member->second.round != swarm->ledger.need()) return;  // what it had is distrusted already
  member->second.mismatch = true;
  BeginNextRound(blob, *swarm);
  Flush(blob, *swarm, now);
}

// Where enough members say so; seeds have what they came for.
void Tracker::BeginNextRound(const Digest& blob, Swarm& swarm) {
  const auto mismatches =
      static_cast<size_t>(std::ranges::count_if(swarm.members, [&](const auto& member) {
        return member.second.mismatch && member.second.round == swarm.ledger.need();
      }));
  if (mismatches == 0 || 2 * mismatches < swarm.members.size() - swarm.seeds) return;
  if (swarm.ledger.need() >= SumLedger::kMaxNeed) return;
  swarm.ledger.NeedMore();
  for (uint32_t piece = 0; piece < swarm.book.pieces(); ++piece) {
    if (swarm.ledger.Agreed(PieceIndex{piece}) == nullptr) swarm.book.Again(PieceIndex{piece});
  }
  TellSums(blob, swarm, swarm.ledger.AllAgreed());
}

void Tracker::OriginRefused(NodeId node, const Digest& blob, SteadyTime now) {
  Swarm* const swarm = Find(blob);
  if (swarm == nullptr || !swarm->members.contains(Number(node))) return;
  swarm->members[Number(node)].origin_accepts = false;
  swarm->book.SetAccepts(node, false);
  Flush(blob, *swarm, now);
}

void Tracker::OriginAccepts(NodeId node, const Digest& blob, SteadyTime now) {
  Swarm* const swarm = Find(blob);
  if (swarm == nullptr || !swarm->members.contains(Number(node))) return;
  swarm->members[Number(node)].origin_accepts = true;
  swarm->book.SetAccepts(node, true);
  Flush(blob, *swarm, now);
}

void Tracker::OriginAway(NodeId node, const Digest& blob, SteadyTime now) {
  Swarm* const swarm = Find(blob);
  if (swarm == nullptr) return;
  swarm->book.Away(node, now);
  Flush(blob, *swarm, now);
}

void Tracker::OriginWithoutRanges(const Digest& blob, SteadyTime now) {
  Swarm* const swarm = Find(blob);
  if (swarm == nullptr) return;
  swarm->book.WithoutRanges();
  Flush(blob, *swarm, now);
}

Status Tracker::Holds(NodeId node, const Labels& labels, std::span<const Digest> blobs,
                      SteadyTime now) {
  if (blame_.IsBanned(node)) {
    return PermissionDenied("node " + std::to_string(Number(node)) + " is banned");
  }
  TRY_STATUS(Know(node, labels));
  const Status kept = inventory_.Add(node, blobs);
  for (const Digest& blob : blobs) {
    Swarm* const swarm = Find(blob);
    if (swarm == nullptr || !inventory_.Holds(node, blob)) continue;
    AddSeed(*swarm, node);
    Flush(blob, *swarm, now);
  }
  return kept;
}

void Tracker::HoldsNot(NodeId node, std::span<const Digest> blobs, SteadyTime now) {
  inventory_.Remove(node, blobs);
  for (const Digest& blob : blobs) {
    Swarm* const swarm = Find(blob);
    if (swarm == nullptr) continue;
    const auto member = swarm->members.find(Number(node));
    if (member != swarm->members.end() && member->second.seed) Remove(blob, node, now);
  }
}

void Tracker::Leave(NodeId node, const Digest& blob, SteadyTime now) {
  const auto known = nodes_.find(Number(node));
  if (known != nodes_.end()) std::erase(known->second.swarms, blob);
  if (inventory_.Holds(node, blob)) return Finished(blob, node, now);
  Remove(blob, node, now);
}

// It has what it came for, and stays as a holder for those who come late: they would else know
// only those who lack pieces themselves.
void Tracker::Finished(const Digest& blob, NodeId node, SteadyTime now) {
  Swarm* const swarm = Find(blob);
  if (swarm == nullptr) return;
  const auto member = swarm->members.find(Number(node));
  if (member == swarm->members.end() || member->second.seed) return;
  if (swarm->members.size() == swarm->seeds + 1) return Remove(blob, node, now);
  member->second = {.seed = true};
  ++swarm->seeds;
  swarm->book.Leave(node);
  BeginNextRound(blob, *swarm);
  Flush(blob, *swarm, now);
}

// A swarm of which only holders are left has nobody to serve.
void Tracker::Remove(const Digest& blob, NodeId node, SteadyTime now) {
  Swarm* const swarm = Find(blob);
  if (swarm == nullptr) return;
  const auto member = swarm->members.find(Number(node));
  if (member == swarm->members.end()) return;
  swarm->seeds -= member->second.seed ? 1 : 0;
  swarm->members.erase(member);
  swarm->crowd.Remove(node);
  swarm->book.Lose(node, now);
  if (swarm->members.size() == swarm->seeds) {
    pieces_ -= swarm->book.pieces();
    swarms_.erase(blob);
    return;
  }
  BeginNextRound(blob, *swarm);
  Flush(blob, *swarm, now);
}

void Tracker::NodeGone(NodeId node, SteadyTime now) {
  const auto known = nodes_.find(Number(node));
  if (known == nodes_.end()) return;
  const auto swarms = std::move(known->second.swarms);
  nodes_.erase(known);
  for (const Digest& blob : swarms) Remove(blob, node, now);
  if (inventory_.HeldBy(node) == 0) return;
  inventory_.RemoveNode(node);
  std::vector<Digest> seeded;
  for (const auto& [blob, swarm] : swarms_) {
    if (swarm.members.contains(Number(node))) seeded.push_back(blob);
  }
  for (const Digest& blob : seeded) Remove(blob, node, now);
}

void Tracker::Accuse(NodeId accuser, NodeId accused, const Digest& blob, SteadyTime now) {
  static const std::vector<uint32_t> kNone;
  Swarm* const swarm = Find(blob);
  const auto& neighbours = swarm == nullptr ? kNone : swarm->crowd.Neighbours(accused);
  const size_t others = nodes_.size() - nodes_.count(Number(accused));
  if (blame_.Accuse(accuser, accused, neighbours, others, now)) Ban(accused, now);
}

void Tracker::Ban(NodeId node, SteadyTime now) {
  blame_.Ban(node, now);
  NodeGone(node, now);
  actions_.push_back({TrackerAction::Kind::kBanned, node, {}, {}, {}, {}});
}

void Tracker::Tick(SteadyTime now) {
  blame_.Tick(now);
  for (auto& [blob, swarm] : swarms_) {
    swarm.book.Tick(now);
    if (std::exchange(swarm.grown, false)) LinkMore(blob, swarm);
    Flush(blob, swarm, now);
  }
}

std::vector<TrackerAction> Tracker::Take() { return std::exchange(actions_, {}); }

std::optional<Tracker::SwarmView> Tracker::View(const Digest& blob) const {
  const auto found = swarms_.find(blob);
  if (found == swarms_.end()) return std::nullopt;
  const Swarm& swarm = found->second;
  SwarmView view{blob,
                 swarm.size_bytes,
                 swarm.book.piece_size_bytes(),
                 swarm.book.pieces(),
                 swarm.book.fetched(),
                 swarm.book.ranges(),
                 swarm.judged,
                 {},
                 swarm.book.leases()};
  for (const auto& [node, member] : swarm.members) {
    view.members.push_back({NodeId{node}, member.origin_accepts, member.seed,
                            swarm.crowd.Neighbours(NodeId{node}).size()});
  }
  return view;
}

std::vector<Digest> Tracker::Swarms() const {
  std::vector<Digest> blobs;
  for (const auto& [blob, swarm] : swarms_) blobs.push_back(blob);
  std::ranges::sort(blobs);
  return blobs;
}

Tracker::Swarm* Tracker::Find(const Digest& blob) {
  const auto found = swarms_.find(blob);
  return found == swarms_.end() ? nullptr : &found->second;
}

// xorshift64*: small, and the same on every machine.
uint64_t Tracker::Random() {
  random_ ^= random_ >> 12;
  random_ ^= random_ << 25;
  random_ ^= random_ >> 27;
  return random_ * 0x2545f4914f6cdd1d;
}

}  // namespace hearth::manager
