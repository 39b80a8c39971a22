#include "manager/tracker_hub.h"

#include <algorithm>

#include "base/log.h"
#include "base/raw_digest.h"
#include "hearth/v1/tracker.pb.h"
#include "manager/node_profile.h"
#include "manager/wire.h"

namespace hearth::manager {

namespace {

constexpr size_t kLeaseHolders = 8;  // of one blob at once, as the tracker grants

// Of what both sides speak, the newest.
Result<uint32_t> CommonProtocol(const v1::Versions& theirs) {
  const uint32_t newest = std::min(theirs.protocol_max(), TrackerHub::kProtocol);
  if (newest >= std::max(theirs.protocol_min(), TrackerHub::kOldestProtocol)) return newest;
  return FailedPrecondition("the node speaks protocol " + std::to_string(theirs.protocol_min()) +
                            " to " + std::to_string(theirs.protocol_max()) +
                            ", this manager speaks " + std::to_string(TrackerHub::kOldestProtocol) +
                            " to " + std::to_string(TrackerHub::kProtocol) +
                            " (upgrade the older one)");
}

}  // namespace

Result<TrackerHub::SessionId> TrackerHub::Open(const net::GrpcTlsPeer& peer, const v1::Hello& hello,
                                               std::shared_ptr<NodeLink> link) {
  if (peer.identity.role != net::Role::kNode) {
    return Unauthenticated("only nodes connect to the tracker");
  }
  const uint32_t protocol = TRY(CommonProtocol(hello.versions()));
  NodeProfile profile = TRY(ReadProfile(hello.node()));
  profile.program_version = hello.versions().program();
  Node node = TRY(options_.fleet.Find(peer.identity.id));
  if (node.banned) return PermissionDenied("this node is banned: " + node.ban_reason);
  if (node.cluster != peer.identity.cluster) {
    return PermissionDenied("this certificate is for another cluster");
  }

  v1::ToNode message;
  v1::Welcome& welcome = *message.mutable_welcome();
  welcome.set_protocol(protocol);
  welcome.set_program(options_.program_version);
  welcome.set_node_id(node.id);
  welcome.set_heartbeat_seconds(static_cast<uint32_t>(kHeartbeat.count()));
  welcome.set_max_joins(Tracker::kMaxSwarmsOfNode);
  welcome.mutable_bans()->set_whole(true);
  for (const std::string& id : options_.fleet.Banned(node.cluster)) {
    welcome.mutable_bans()->add_banned(id);
  }

  MutexLock lock(mutex_);
  if (const auto older = by_number_.find(Number(node.number)); older != by_number_.end()) {
    End(older->second, Aborted("this node opened a newer stream"));
  }
  TRY_STATUS(options_.fleet.Connected(node.id, profile));
  absent_.erase({node.cluster, Number(node.number)});
  const SessionId id = next_session_++;
  Session& session = sessions_[id];
  session.node_id = node.id;
  session.number = node.number;
  session.cluster = node.cluster;
  session.name = profile.name;
  session.data_address = profile.data_address;
  session.control_address = profile.control_address;
  session.labels = PlaceOf(profile.labels);
  session.link = std::move(link);
  session.certificate = std::make_shared<const net::Certificate>(peer.certificate);
  session.last_heard = options_.clock.SteadyNow();
  by_number_[Number(node.number)] = id;
  ++ClusterOf(node.cluster).sessions;
  const uint64_t rate = options_.origin_rate ? options_.origin_rate(node.cluster) : 0;
  welcome.mutable_settings()->set_origin_bytes_per_second(rate);
  welcome.mutable_settings()->set_origin_share_bytes_per_second(ShareOf(node.cluster, rate));
  session.link->Send(message);
  return id;
}

TrackerHub::Cluster& TrackerHub::ClusterOf(const std::string& name) {
  auto& cluster = clusters_[name];
  if (cluster == nullptr) {
    cluster = std::make_unique<Cluster>(options_.seed ^ std::hash<std::string>()(name));
  }
  return *cluster;
}

TrackerHub::Session* TrackerHub::Find(NodeId number) {
  const auto found = by_number_.find(Number(number));
  return found == by_number_.end() ? nullptr : &sessions_.at(found->second);
}

void TrackerHub::Flush(const std::string& cluster) {
  Tracker& tracker = ClusterOf(cluster).tracker;
  for (const TrackerAction& action : tracker.Take()) {
    if (action.kind == TrackerAction::Kind::kBanned) {
      // By the word of other nodes.
      for (const Node& node : options_.fleet.List()) {
        if (node.number != action.to || node.cluster != cluster || node.banned) continue;
        LOG_ERROR("a node is banned: other nodes accuse it of wrong bytes",
                  {{"name", node.profile.name}, {"node_id", node.id}, {"cluster", cluster}});
        (void)options_.fleet.SetBan(node.id, true, "accused of wrong bytes by other nodes");
        TellBan(cluster, node.id, true);
      }
      continue;
    }
    Session* to = Find(action.to);
    if (to == nullptr) continue;
    v1::ToNode message;
    switch (action.kind) {
      case TrackerAction::Kind::kNeighbours:
        TellNeighbours(cluster, *to, action.blob, action.neighbours, false);
        continue;
      case TrackerAction::Kind::kLease:
        message.mutable_lease()->set_blob(ToRaw(action.blob));
        Fill(*message.mutable_lease()->mutable_run(), action.run);
        break;
      case TrackerAction::Kind::kRevoke:
        message.mutable_revoke()->set_blob(ToRaw(action.blob));
        Fill(*message.mutable_revoke()->mutable_run(), action.run);
        break;
      case TrackerAction::Kind::kSums:
        message.mutable_settled()->set_blob(ToRaw(action.blob));
        for (const PieceSum& sum : action.sums) {
          message.mutable_settled()->add_pieces(static_cast<uint32_t>(sum.piece));
          message.mutable_settled()->mutable_sums()->append(ToRaw(sum.sum));
        }
        break;
      case TrackerAction::Kind::kBanned:
        continue;
    }
    to->link->Send(message);
  }
}

void TrackerHub::TellNeighbours(const std::string& cluster, Session& to, const Digest& blob,
                                const std::vector<NodeId>& nodes, bool located) {
  v1::ToNode message;
  v1::Neighbours& out = *message.mutable_neighbours();
  out.set_blob(ToRaw(blob));
  out.set_located(located);
  const auto& inventory = ClusterOf(cluster).tracker.inventory();
  for (const NodeId number : nodes) {
    const Session* node = Find(number);
    if (node == nullptr || static_cast<size_t>(out.nodes_size()) == kMaxNeighboursTold) continue;
    v1::Neighbour& neighbour = *out.add_nodes();
    neighbour.set_node_id(node->node_id);
    neighbour.set_name(node->name);
    neighbour.set_data_address(node->data_address);
    neighbour.set_control_address(node->control_address);
    neighbour.set_distance(static_cast<uint32_t>(LabelDistance(node->labels, to.labels)));
    neighbour.set_complete(inventory.Holds(number, blob));
  }
  to.link->Send(message);
}

void TrackerHub::TellBan(const std::string& cluster, const std::string& node_id, bool banned) {
  v1::ToNode message;
  if (banned) {
    message.mutable_bans()->add_banned(node_id);
  } else {
    message.mutable_bans()->add_unbanned(node_id);
  }
  std::vector<SessionId> its_own;
  for (auto& [id, session] : sessions_) {
    if (session.cluster != cluster) continue;
    if (banned && session.node_id == node_id) {
      its_own.push_back(id);
    } else {
      session.link->Send(message);
    }
  }
  for (const SessionId id : its_own) End(id, PermissionDenied("this node is banned"));
}

void TrackerHub::End(SessionId id, const Status& why) {
  const auto found = sessions_.find(id);
  if (found == sessions_.end()) return;
  Session& session = found->second;
  session.link->Close(why);
  by_number_.erase(Number(session.number));
  absent_[{session.cluster, Number(session.number)}] = options_.clock.SteadyNow() + kGrace;
  --ClusterOf(session.cluster).sessions;
  options_.fleet.Disconnected(session.node_id);
  sessions_.erase(found);
}

void TrackerHub::Closed(SessionId session) {
  MutexLock lock(mutex_);
  End(session, Cancelled("the node closed the stream"));
}

void TrackerHub::Tick() {
  const SteadyTime now = options_.clock.SteadyNow();
  const WallTime wall = options_.clock.WallNow();
  MutexLock lock(mutex_);
  std::vector<std::pair<SessionId, Status>> ending;
  for (const auto& [id, session] : sessions_) {
    if (now >= session.last_heard + 3 * kHeartbeat) {
      ending.emplace_back(id, DeadlineExceeded("no heartbeat for 30 s"));
    } else if (wall >= session.certificate->NotAfter()) {
      // It connects again with the certificate that it should have by now.
      ending.emplace_back(id, Unauthenticated("the certificate of this stream has expired"));
    }
  }
  for (const auto& [id, why] : ending) End(id, why);
  for (auto absent = absent_.begin(); absent != absent_.end();) {
    if (now < absent->second) {
      ++absent;
      continue;
    }
    ClusterOf(absent->first.first).tracker.NodeGone(NodeId{absent->first.second}, now);
    absent = absent_.erase(absent);
  }
  for (const auto& [name, cluster] : clusters_) {
    cluster->tracker.Tick(now);
    Flush(name);
  }
}

Status TrackerHub::SetBan(const std::string& node_id, bool banned, const std::string& reason) {
  const Node node = TRY(options_.fleet.Find(node_id));
  TRY_STATUS(options_.fleet.SetBan(node_id, banned, reason));
  MutexLock lock(mutex_);
  Tracker& tracker = ClusterOf(node.cluster).tracker;
  if (banned) {
    tracker.Ban(node.number, options_.clock.SteadyNow());
  } else {
    tracker.Unban(node.number);
  }
  TellBan(node.cluster, node.id, banned);
  Flush(node.cluster);
  return OkStatus();
}

Status TrackerHub::Forget(const std::string& node_id) {
  const Node node = TRY(options_.fleet.Find(node_id));
  MutexLock lock(mutex_);
  if (const auto found = by_number_.find(Number(node.number)); found != by_number_.end()) {
    End(found->second, NotFound("this node was forgotten (join again)"));
  }
  absent_.erase({node.cluster, Number(node.number)});
  Tracker& tracker = ClusterOf(node.cluster).tracker;
  tracker.NodeGone(node.number, options_.clock.SteadyNow());
  tracker.Unban(node.number);  // the number is never given again
  Flush(node.cluster);
  return options_.fleet.Forget(node_id);
}

// Those who may fetch at once share it: as many as hold leases, at most all.
uint64_t TrackerHub::ShareOf(const std::string& cluster, uint64_t rate) {
  const Cluster& known = ClusterOf(cluster);
  const size_t swarms = known.tracker.Swarms().size();
  const size_t fetchers = std::min(known.sessions, kLeaseHolders * std::max<size_t>(swarms, 1));
  return rate / std::max<size_t>(fetchers, 1);
}

void TrackerHub::SettingsChanged() {
  MutexLock lock(mutex_);
  for (const auto& [name, cluster] : clusters_) {
    const uint64_t rate = options_.origin_rate ? options_.origin_rate(name) : 0;
    const uint64_t share = ShareOf(name, rate);
    if (rate == cluster->told_rate && share == cluster->told_share) continue;
    cluster->told_rate = rate;
    cluster->told_share = share;
    v1::ToNode message;
    message.mutable_settings()->set_origin_bytes_per_second(rate);
    message.mutable_settings()->set_origin_share_bytes_per_second(share);
    for (auto& [id, session] : sessions_) {
      if (session.cluster == name) session.link->Send(message);
    }
  }
}

void TrackerHub::CloseAll(const Status& why) {
  MutexLock lock(mutex_);
  while (!sessions_.empty()) End(sessions_.begin()->first, why);
}

size_t TrackerHub::BlobsOf(const Node& node) const {
  MutexLock lock(mutex_);
  const auto cluster = clusters_.find(node.cluster);
  if (cluster == clusters_.end()) return 0;
  return cluster->second->tracker.inventory().HeldBy(node.number);
}

std::vector<Reading> TrackerHub::Readings() const {
  MutexLock lock(mutex_);
  size_t blobs = 0;
  size_t swarms = 0;
  for (const auto& [name, cluster] : clusters_) {
    blobs += cluster->tracker.inventory().blobs();
    swarms += cluster->tracker.Swarms().size();
  }
  return {{"hearth_manager_nodes_connected",
           "Nodes with a stream to this manager.",
           {},
           static_cast<double>(sessions_.size()),
           false},
          {"hearth_manager_blobs_known",
           "Distinct blobs that connected nodes hold.",
           {},
           static_cast<double>(blobs),
           false},
          {"hearth_manager_swarms",
           "Blobs that nodes are fetching or serving in a swarm.",
           {},
           static_cast<double>(swarms),
           false}};
}

}  // namespace hearth::manager
