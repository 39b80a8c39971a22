// What a connected node's messages mean: TrackerHub::Receive() of tracker_hub.h.
#include <algorithm>
#include <utility>

#include "base/log.h"
#include "base/raw_digest.h"
#include "hearth/v1/tracker.pb.h"
#include "manager/attestation.h"
#include "manager/tracker_hub.h"
#include "manager/wire.h"

namespace hearth::manager {

namespace {

CounterFamily g_messages("hearth_manager_tracker_messages_total", "Messages from nodes.", {"kind"});
CounterFamily g_blames("hearth_manager_blames_total", "Accusations by nodes.", {"kind"});

NodeUsage UsageOf(const v1::Heartbeat& beat) {
  return {.disk_free_bytes = beat.disk_free_bytes(),
          .disk_total_bytes = beat.disk_total_bytes(),
          .store_bytes = beat.store_bytes(),
          .origin_bytes = beat.origin_bytes(),
          .peer_bytes = beat.peer_bytes(),
          .uploaded_bytes = beat.uploaded_bytes()};
}

}  // namespace

Status TrackerHub::Receive(SessionId id, const v1::FromNode& message) {
  std::string node_id;
  std::vector<Digest> dropped;
  Status status;
  {
    MutexLock lock(mutex_);
    const auto found = sessions_.find(id);
    if (found == sessions_.end()) return Aborted("the stream was closed");
    Session& session = found->second;
    session.last_heard = options_.clock.SteadyNow();
    const std::string cluster = session.cluster;  // the session may end in Flush()
    node_id = session.node_id;
    status = Handle(session, message);
    dropped = std::exchange(dropped_, {});
    Flush(cluster);
  }
  if (!dropped.empty() && options_.dropped) options_.dropped(node_id, dropped);
  return status;
}

Status TrackerHub::Handle(Session& session, const v1::FromNode& message) {
  Tracker& tracker = ClusterOf(session.cluster).tracker;
  const NodeId node = session.number;
  const SteadyTime now = session.last_heard;
  switch (message.what_case()) {
    case v1::FromNode::kHello:
      return InvalidArgument("a second Hello");
    case v1::FromNode::kHeartbeat:
      g_messages.Add({"heartbeat"});
      options_.fleet.Seen(session.node_id, UsageOf(message.heartbeat()));
      return OkStatus();
    case v1::FromNode::kInventory:
      g_messages.Add({"inventory"});
      return TakeInventory(session, message.inventory());
    case v1::FromNode::kJoin:
      g_messages.Add({"join"});
      return Join(session, message.join());
    case v1::FromNode::kLeave:
      tracker.Leave(node, TRY(ReadDigest(message.leave().blob())), now);
      return OkStatus();
    case v1::FromNode::kFetched:
      g_messages.Add({"fetched"});
      tracker.PiecesFetched(node, TRY(ReadDigest(message.fetched().blob())),
                            TRY(ReadRuns(message.fetched().runs())), now);
      return OkStatus();
    case v1::FromNode::kMissing:
      g_messages.Add({"missing"});
      tracker.PiecesMissing(node, TRY(ReadDigest(message.missing().blob())),
                            TRY(ReadRuns(message.missing().runs())), now);
      return OkStatus();
    case v1::FromNode::kOrigin: {
      g_messages.Add({"origin"});
      const Digest blob = TRY(ReadDigest(message.origin().blob()));
      const auto kind = message.origin().kind();
      if (kind == v1::OriginTrouble::REFUSED) tracker.OriginRefused(node, blob, now);
      if (kind == v1::OriginTrouble::WITHOUT_RANGES) tracker.OriginWithoutRanges(blob, now);
      if (kind == v1::OriginTrouble::UNREACHABLE) tracker.OriginAway(node, blob, now);
      if (kind == v1::OriginTrouble::ACCEPTS) tracker.OriginAccepts(node, blob, now);
      return OkStatus();
    }
    case v1::FromNode::kAttestation:
      g_messages.Add({"attestation"});
      return Attest(session, message.attestation());
    case v1::FromNode::kBlame:
      g_messages.Add({"blame"});
      return Accuse(session, message.blame());
    case v1::FromNode::kLocate:
      g_messages.Add({"locate"});
      Locate(session, TRY(ReadDigest(message.locate().blob())));
      return OkStatus();
    case v1::FromNode::kMismatch:
      g_messages.Add({"mismatch"});
      tracker.DigestMismatch(node, TRY(ReadDigest(message.mismatch().blob())), now);
      return OkStatus();
    case v1::FromNode::WHAT_NOT_SET:
      break;  // a newer node's; nothing depends on it
  }
  g_messages.Add({"unknown"});
  return OkStatus();
}

Status TrackerHub::Join(Session& session, const v1::JoinBlob& join) {
  const Digest blob = TRY(ReadDigest(join.blob()));
  if (join.strict()) {
    TellNeighbours(session.cluster, session, blob, {}, false);
    return OkStatus();
  }
  Tracker::Join enter{.node = session.number,
                      .labels = session.labels,
                      .blob = blob,
                      .size_bytes = join.size_bytes(),
                      .present = PieceBitmap(),
                      .origin_accepts = join.origin_accepts(),
                      .judged = !join.unjudged()};
  const uint64_t pieces = join.size_bytes() / PieceSizeFor(join.size_bytes()) + 1;
  if (pieces > Tracker::kMaxPieces) {
    Refuse(session, blob, InvalidArgument("a blob of so many bytes"));
    return OkStatus();
  }
  const uint32_t count = PieceCount(join.size_bytes(), PieceSizeFor(join.size_bytes()));
  if (join.present().empty()) {
    enter.present = PieceBitmap(count);
  } else {
    auto present = PieceBitmap::Decode(join.present(), count);
    if (!present.ok()) return InvalidArgument(present.status().message());
    enter.present = *std::move(present);
  }
  if (!join.kept().empty()) {
    auto kept = PieceBitmap::Decode(join.kept(), count);
    if (!kept.ok()) return InvalidArgument(kept.status().message());
    enter.kept = *std::move(kept);
  }
  const Status entered =
      ClusterOf(session.cluster).tracker.Enter(enter, options_.clock.SteadyNow());
  if (!entered.ok()) Refuse(session, blob, entered);
  return OkStatus();
}

Status TrackerHub::TakeInventory(Session& session, const v1::Inventory& inventory) {
  Tracker& tracker = ClusterOf(session.cluster).tracker;
  const SteadyTime now = options_.clock.SteadyNow();
  const auto added = TRY(ReadDigests(inventory.added()));
  auto removed = TRY(ReadDigests(inventory.removed()));
  if (inventory.first()) {
    session.in_snapshot = true;
    session.snapshot.clear();
    session.snapshot_blobs = 0;
    // Else there is nothing that it may have lost.
    session.held_before = tracker.inventory().HeldBy(session.number) > 0;
  }
  if (session.in_snapshot) {
    session.snapshot_blobs += added.size();
    if (session.snapshot_blobs > Inventory::kMaxPerNode) {
      return ResourceExhausted("more than 200000 blobs on one node");
    }
    if (session.held_before) {
      session.snapshot.insert(session.snapshot.end(), added.begin(), added.end());
    }
  }
  tracker.HoldsNot(session.number, removed, now);
  dropped_ = std::move(removed);
  if (const Status full = tracker.Holds(session.number, session.labels, added, now); !full.ok()) {
    Refuse(session, {}, full);
  }
  if (!session.in_snapshot || !inventory.last()) return OkStatus();
  session.in_snapshot = false;
  if (!session.held_before) return OkStatus();
  // What it held before the stream broke and does not name any more.
  // In one piece of memory, given back as one: small ones would stay between what is kept.
  std::vector<Digest> named = std::move(session.snapshot);
  session.snapshot = {};
  std::ranges::sort(named);
  std::vector<Digest> lost = tracker.inventory().BlobsOf(session.number);
  std::erase_if(lost, [&](const Digest& blob) { return std::ranges::binary_search(named, blob); });
  tracker.HoldsNot(session.number, lost, now);
  dropped_ = std::move(lost);
  return OkStatus();
}

Status TrackerHub::Attest(Session& session, const v1::Attestation& attestation) {
  const auto told = TRY(ReadAttestation(attestation, *session.certificate));
  ClusterOf(session.cluster)
      .tracker.Attested(session.number, told.blob, told.sums, options_.clock.SteadyNow());
  return OkStatus();
}

Status TrackerHub::Accuse(Session& session, const v1::Blame& blame) {
  const Digest blob = TRY(ReadDigest(blame.blob()));
  const auto accused = options_.fleet.Find(blame.node_id());
  if (!accused.ok() || accused->cluster != session.cluster) return OkStatus();
  const bool attested = blame.kind() == v1::Blame::ATTESTED_WRONG;
  if (attested) {
    const Status proven = CheckProof(blame.proof(), options_.authority, accused->id, blob,
                                     blame.piece(), options_.clock.WallNow());
    if (!proven.ok()) {
      Refuse(session, blob, proven);
      return OkStatus();
    }
  } else if (blame.kind() != v1::Blame::SERVED_WRONG) {
    return OkStatus();
  }
  g_blames.Add({attested ? "attested_wrong" : "served_wrong"});
  LOG_WARNING("a node is accused of wrong bytes", {{"accused", accused->profile.name},
                                                   {"accuser", session.name},
                                                   {"blob", blob.ToString()},
                                                   {"piece", blame.piece()},
                                                   {"attested", attested}});
  ClusterOf(session.cluster)
      .tracker.Accuse(session.number, accused->number, blob, options_.clock.SteadyNow());
  return OkStatus();
}

void TrackerHub::Locate(Session& session, const Digest& blob) {
  std::vector<std::pair<int, uint32_t>> order;
  for (const uint32_t number : ClusterOf(session.cluster).tracker.inventory().Holders(blob)) {
    const Session* holder = Find(NodeId{number});
    if (holder == nullptr || holder == &session) continue;
    order.emplace_back(LabelDistance(holder->labels, session.labels), number);
  }
  const size_t most = std::min(order.size(), kMaxLocated);
  std::partial_sort(order.begin(), order.begin() + static_cast<ptrdiff_t>(most), order.end());
  std::vector<NodeId> nodes;
  for (size_t i = 0; i < most; ++i) nodes.push_back(NodeId{order[i].second});
  TellNeighbours(session.cluster, session, blob, nodes, true);
}

void TrackerHub::Refuse(Session& session, const Digest& blob, const Status& why) {
  v1::ToNode message;
  message.mutable_refused()->set_blob(ToRaw(blob));
  message.mutable_refused()->set_code(static_cast<uint32_t>(why.code()));
  message.mutable_refused()->set_message(why.message());
  session.link->Send(message);
}

}  // namespace hearth::manager
