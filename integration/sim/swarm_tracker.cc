// The tracker's side of a SwarmWorld: what it is told, and what it says.
#include <utility>

#include "base/status.h"
#include "sim/swarm_world.h"

namespace hearth::sim {

namespace {

constexpr std::chrono::nanoseconds kTrackerTrip = std::chrono::milliseconds(10);  // one way

}  // namespace

// A message to the tracker; while it is away the sender keeps it.
void SwarmWorld::Tell(std::function<void()> event) {
  ++report_.control_messages;
  const SteadyTime arrives = timeline_.now() + kTrackerTrip;
  const bool away = TrackerAway(arrives);
  timeline_.At(away ? SteadyTime{} + options_.tracker_outage->until : arrives,
               [this, told = std::move(event)] {
                 told();
                 Answer();
               });
}

// A node with the whole blob enters no swarm: it says that it holds it.
void SwarmWorld::Enter(uint32_t number, uint32_t blob) {
  PieceBitmap present(pieces_), kept(pieces_);
  const p2p::Picker& picker = At(number, blob).download->picker();
  for (uint32_t piece = 0; piece < pieces_; ++piece) {
    if (picker.IsPresent(PieceIndex{piece})) present.Set(PieceIndex{piece});
    if (picker.IsKept(PieceIndex{piece})) kept.Set(PieceIndex{piece});
  }
  Tell([this, number, blob, life = At(number, blob).life, present, kept] {
    const Node& joiner = nodes_[number];
    if (At(number, blob).life != life || joiner.banned || !joiner.up) return;
    const manager::NodeId node{number};
    if (At(number, blob).done) {
      (void)tracker_.Holds(node, joiner.labels, {&blobs_[blob], 1}, timeline_.now());
      return;
    }
    const Status entered =
        tracker_.Enter({.node = node,
                        .labels = joiner.labels,
                        .blob = blobs_[blob],
                        .size_bytes = options_.size_bytes,
                        .present = present,
                        .origin_accepts = true,
                        .judged = options_.judged && options_.broken != Options::Broken::kLeases,
                        .kept = kept},
                       timeline_.now());
    CHECK(entered.ok() || entered.code() == StatusCode::kPermissionDenied);  // banned
    if (!options_.ranges) tracker_.OriginWithoutRanges(blobs_[blob], timeline_.now());
  });
}

void SwarmWorld::Answer() {
  for (const manager::TrackerAction& action : tracker_.Take()) {
    ++report_.control_messages;
    const auto to = static_cast<uint32_t>(action.to);
    timeline_.After(kTrackerTrip, [this, to, life = nodes_[to].life, action] {
      if (nodes_[to].up && nodes_[to].life == life) Obey(to, action);
    });
  }
}

void SwarmWorld::Obey(uint32_t number, const manager::TrackerAction& action) {
  if (action.kind == manager::TrackerAction::Kind::kBanned) return Ban(number);
  const auto found = std::ranges::find(blobs_, action.blob);
  const auto blob = static_cast<uint32_t>(found - blobs_.begin());
  Transfer& transfer = At(number, blob);
  switch (action.kind) {
    case manager::TrackerAction::Kind::kNeighbours:
      for (const manager::NodeId peer : action.neighbours) Connect(number, uint32_t(peer), blob);
      break;
    case manager::TrackerAction::Kind::kLease:
      transfer.download->GrantLease(action.run, timeline_.now());
      break;
    case manager::TrackerAction::Kind::kRevoke:
      transfer.download->RevokeLease(action.run, timeline_.now());
      break;
    case manager::TrackerAction::Kind::kSums:
      if (!transfer.sums) break;
      for (const PieceSum& sum : action.sums) Agree(number, blob, sum);
      if (transfer.download->complete() && !transfer.done) Complete(number, blob);
      break;
    case manager::TrackerAction::Kind::kBanned:
      break;
  }
  Act(number, blob);
}

void SwarmWorld::Ban(uint32_t number) {
  Node& node = nodes_[number];
  if (node.banned) return;
  node.banned = true;
  ++report_.banned;
  report_.banned_honest += node.honest() ? 1 : 0;
  Stop(number);
}

}  // namespace hearth::sim
