// Trust in a SwarmWorld: who says what a piece hashes to, who lies, and who is named for it.
#include <algorithm>
#include <utility>

#include "sim/swarm_world.h"

namespace hearth::sim {

namespace {

constexpr uint32_t kSettledTries = 2;  // then everything comes from the origin, as SwarmCore does

}  // namespace

// Of this simulation's pieces; different where the bytes are.
Digest SwarmWorld::SumOf(uint32_t piece, Content content) {
  std::array<uint8_t, Digest::kBytes> bytes{1};
  for (size_t i = 0; i < 4; ++i) {
    bytes[1 + i] = static_cast<uint8_t>(piece >> 8 * i);
    bytes[5 + i] = static_cast<uint8_t>(uint32_t(content) >> 8 * i);
  }
  return Digest(bytes);
}

Content SwarmWorld::Falsify(uint32_t node) const {
  if (!nodes_[node].attests_wrong) return Content::kRight;
  return options_.together ? Content::kTogether : Content{uint32_t(Content::kFirstLiar) + node};
}

// Do the bytes hash to what is expected? The origin is believed.
bool SwarmWorld::IsRight(const Parcel& parcel) {
  if (parcel.from == origin_ || options_.broken == Options::Broken::kChecks) return true;
  const Transfer& transfer = At(parcel.ask.to, parcel.ask.blob);
  const PieceIndex piece = parcel.ask.run.first;
  const bool right = transfer.sums
                         ? transfer.sums->Expected(piece) == SumOf(uint32_t(piece), parcel.content)
                         : parcel.content == Content::kRight;
  if (!right && nodes_[parcel.from].lies()) nodes_[parcel.from].caught = true;
  return right;
}

// The node says what a piece hashes to that it fetched from the origin, or whose blob it verified.
void SwarmWorld::Attest(uint32_t number, uint32_t blob, PieceIndex piece) {
  Transfer& transfer = At(number, blob);
  if (!transfer.sums) return;
  const Content content = transfer.content[uint32_t(piece)];
  Settle(number, blob, {piece, SumOf(uint32_t(piece), content)});
  transfer.known.insert({number, piece});
  transfer.heard.push_back({number, piece, content});
}

void SwarmWorld::Settle(uint32_t number, uint32_t blob, const PieceSum& sum) {
  Transfer& transfer = At(number, blob);
  for (const p2p::AttesterId liar : transfer.sums->Settle(sum)) {
    if (nodes_[number].lies()) continue;
    nodes_[uint32_t(liar)].caught = true;
    std::erase_if(transfer.heard,
                  [&](const Told& told) { return told.attester == uint32_t(liar); });
    for (Neighbour& neighbour : transfer.neighbours) neighbour.heard_told = 0;
    Blame(number, uint32_t(liar), blob);
  }
  Believe(number, blob, sum.piece);
}

void SwarmWorld::Believe(uint32_t number, uint32_t blob, PieceIndex piece) {
  Transfer& transfer = At(number, blob);
  if (transfer.from_origin) return;
  for (const p2p::SourceId source : transfer.sums->Promisers(piece)) {
    transfer.download->PeerHas(source, {piece}, timeline_.now());
  }
}

// The tracker's word. A false version of a piece cannot be taken back from the blob's readers.
void SwarmWorld::Agree(uint32_t number, uint32_t blob, const PieceSum& sum) {
  Transfer& transfer = At(number, blob);
  if (transfer.from_origin || transfer.done) return;
  const bool changed = transfer.sums->Agree(sum);
  const bool present = transfer.download->picker().IsPresent(sum.piece);
  if (changed && present && transfer.told[uint32_t(sum.piece)]) {
    return Mismatch(number, blob);
  }
  if (changed) transfer.download->PeersHaveNot(sum.piece, timeline_.now());
  Believe(number, blob, sum.piece);
  present ? Vouch(number, blob, sum.piece) : Restore(number, blob, sum.piece);
}

// What the try before had is right where it is what has been settled since.
void SwarmWorld::Restore(uint32_t number, uint32_t blob, PieceIndex piece) {
  Transfer& transfer = At(number, blob);
  if (transfer.former.empty() || !transfer.former[uint32_t(piece)]) return;
  const Content content = *transfer.former[uint32_t(piece)];
  if (transfer.sums->Expected(piece) != SumOf(uint32_t(piece), content)) return;
  transfer.content[uint32_t(piece)] = content;
  transfer.download->AddPresent(piece, timeline_.now());
  TellNeighbours(number, blob, piece);
}

// Somebody said what a piece hashes to that an earlier life left.
void SwarmWorld::Vouch(uint32_t number, uint32_t blob, PieceIndex piece) {
  Transfer& transfer = At(number, blob);
  if (!transfer.download->picker().IsKept(piece)) return;
  const Digest sum = SumOf(uint32_t(piece), transfer.content[uint32_t(piece)]);
  if (transfer.sums && transfer.sums->Expected(piece) != sum) return;
  transfer.download->AddPresent(piece, timeline_.now());
  Tell([this, number, blob, piece] {
    tracker_.PieceFetched(manager::NodeId{number}, blobs_[blob], piece, timeline_.now());
  });
  TellNeighbours(number, blob, piece);
}

// Attestations go ahead of the HAVEs that need them, once to each neighbour.
void SwarmWorld::TellHeard(uint32_t number, uint32_t blob, Neighbour& neighbour) {
  const Transfer& transfer = At(number, blob);
  if (neighbour.heard_told == transfer.heard.size()) return;
  const auto first = transfer.heard.begin() + static_cast<std::ptrdiff_t>(neighbour.heard_told);
  std::vector<Told> told(first, transfer.heard.end());
  neighbour.heard_told = transfer.heard.size();
  timeline_.After(
      RoundTrip(number, neighbour.node) / 2,
      [this, number, peer = neighbour.node, blob, source = neighbour.ours, told = std::move(told)] {
        if (IsNeighbour(peer, blob, source, number)) Hear(peer, blob, told);
      });
}

void SwarmWorld::Hear(uint32_t number, uint32_t blob, const std::vector<Told>& told) {
  Transfer& transfer = At(number, blob);
  if (!transfer.sums) return;
  for (const Told& each : told) {
    if (nodes_[each.attester].banned) continue;
    if (!transfer.known.insert({each.attester, each.piece}).second) continue;
    transfer.heard.push_back(each);
    (void)transfer.sums->Add(p2p::AttesterId{each.attester},
                             {each.piece, SumOf(uint32_t(each.piece), each.content)});
    Vouch(number, blob, each.piece);
    if (transfer.from_origin) continue;
    for (const p2p::SourceId source : transfer.sums->Promisers(each.piece)) {
      transfer.download->PeerHas(source, {each.piece}, timeline_.now());
    }
  }
  Act(number, blob);
}

void SwarmWorld::HearHave(uint32_t number, uint32_t blob, p2p::SourceId from,
                          std::span<const std::pair<PieceIndex, Content>> pieces) {
  Transfer& transfer = At(number, blob);
  if (transfer.from_origin) return;
  to_ask_.clear();
  for (const auto& [piece, content] : pieces) {
    if (transfer.sums && !transfer.sums->Promise(from, {piece, SumOf(uint32_t(piece), content)})) {
      continue;
    }
    to_ask_.push_back(piece);
    if (transfer.download->picker().kept() > 0) Vouch(number, blob, piece);
  }
  transfer.download->PeerHas(from, to_ask_, timeline_.now());
  Act(number, blob);
}

void SwarmWorld::Blame(uint32_t number, uint32_t liar, uint32_t blob) {
  if (options_.broken == Options::Broken::kBlame) return;
  Tell([this, number, liar, blob] {
    const manager::NodeId accused{liar};
    if (options_.broken == Options::Broken::kBans) tracker_.Ban(accused, timeline_.now());
    tracker_.Accuse(manager::NodeId{number}, accused, blobs_[blob], timeline_.now());
  });
}

// A liar's word against an honest node.
void SwarmWorld::Slander(uint32_t liar, uint32_t node, uint32_t blob) {
  if (!nodes_[node].lies()) Blame(liar, node, blob);
}

// The node tries again and believes less; what it has stays where it fits what is settled.
void SwarmWorld::Mismatch(uint32_t number, uint32_t blob) {
  Transfer& transfer = At(number, blob);
  ++report_.mismatches;
  ++transfer.wrong;
  Tell([this, number, blob] {
    tracker_.DigestMismatch(manager::NodeId{number}, blobs_[blob], timeline_.now());
  });
  StopTransfer(number, blob);
  transfer.from_origin = transfer.wrong > kSettledTries;
  transfer.former.assign(pieces_, std::nullopt);
  for (uint32_t piece = 0; piece < pieces_; ++piece) {
    const bool present = transfer.download->picker().IsPresent(PieceIndex{piece});
    if (present && !transfer.from_origin) transfer.former[piece] = transfer.content[piece];
  }
  *transfer.sums = transfer.sums->ForNextTry();
  transfer.download = std::make_unique<p2p::Download>(
      p2p::Download::Options{options_.size_bytes, piece_size_bytes_, Random()}, timeline_.now());
  NoteComplete(number, blob);
  transfer.told.assign(pieces_, false);
  transfer.content.assign(pieces_, Content::kRight);
  transfer.tick = SteadyTime::max();
  transfer.download->SetTracker(!TrackerAway(timeline_.now()), timeline_.now());
  for (uint32_t piece = 0; piece < pieces_; ++piece) {
    if (!transfer.from_origin) Restore(number, blob, PieceIndex{piece});
  }
  if (transfer.from_origin) {
    transfer.download->GrantLease({PieceIndex{0}, pieces_}, timeline_.now());
  }
  Enter(number, blob);
  if (transfer.download->complete()) return Complete(number, blob);
  Act(number, blob);
}

// The digest was right: who attested something else than what is here lied.
void SwarmWorld::BlameLiars(uint32_t number, uint32_t blob) {
  Transfer& transfer = At(number, blob);
  if (!transfer.sums || nodes_[number].lies()) return;
  const auto checked = [&](PieceIndex piece) { return transfer.told[uint32_t(piece)]; };
  for (const auto& [liar, truth] : transfer.sums->Verified(checked)) {
    nodes_[uint32_t(liar)].caught = true;
    Blame(number, uint32_t(liar), blob);
  }
}

}  // namespace hearth::sim
