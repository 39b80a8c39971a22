// TrackerHub: the nodes that are connected, and the trackers of their clusters behind one mutex.
//
// What a node's message means and what it is answered is decided here; the stream that brings it is
// tracker_service's. Any thread; no call waits for the network.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/clock.h"
#include "base/digest.h"
#include "base/metrics.h"
#include "base/status.h"
#include "base/thread.h"
#include "manager/fleet.h"
#include "manager/stream_link.h"
#include "manager/tracker.h"
#include "net/grpc_tls.h"

namespace hearth::v1 {
class Attestation;
class Blame;
class FromNode;
class Hello;
class Inventory;
class JoinBlob;
class PieceSums;
class ToNode;
}  // namespace hearth::v1

namespace hearth::manager {

using NodeLink = StreamLink<v1::ToNode>;

class TrackerHub {
 public:
  static constexpr uint32_t kProtocol = 1;               // the newest that is spoken here …
  static constexpr uint32_t kOldestProtocol = 1;         // … and the oldest
  static constexpr std::chrono::seconds kHeartbeat{10};  // a node is gone after three
  static constexpr std::chrono::seconds kGrace{15};      // a broken stream may come back
  static constexpr size_t kMaxDigestsPerMessage = 16'384;
  static constexpr int kMaxRunsPerMessage = 256;
  static constexpr size_t kMaxNeighboursTold = 32;
  static constexpr size_t kMaxLocated = 16;
  static constexpr size_t kMaxSums = 4'096;

  struct Options {
    Fleet& fleet;
    const net::Certificate& authority;
    const Clock& clock = RealClock();
    uint64_t seed = 0;
    std::string program_version;
    // Bytes per second from origins, all nodes of the cluster together; 0 = no limit.
    std::function<uint64_t(const std::string& cluster)> origin_rate;
    // Called without a lock: blobs that a node held and does no more.
    std::function<void(const std::string& node_id, std::span<const Digest> blobs)> dropped = {};
  };
  explicit TrackerHub(Options options) : options_(std::move(options)) {}

  using SessionId = uint64_t;
  // A node's first message. Errors end the stream: kUnauthenticated: not a node's certificate;
  // kNotFound: forgotten; kPermissionDenied: banned; kFailedPrecondition: no common protocol;
  // kInvalidArgument. An older stream of the node is closed (kAborted).
  Result<SessionId> Open(const net::GrpcTlsPeer& peer, const v1::Hello& hello,
                         std::shared_ptr<NodeLink> link) EXCLUDES(mutex_);
  // An error ends the stream. Of a session that was closed meanwhile: kAborted.
  Status Receive(SessionId session, const v1::FromNode& message) EXCLUDES(mutex_);
  void Closed(SessionId session) EXCLUDES(mutex_);

  // At least once a second.
  void Tick() EXCLUDES(mutex_);
  // kNotFound. Every node of the cluster is told.
  Status SetBan(const std::string& node_id, bool banned, const std::string& reason)
      EXCLUDES(mutex_);
  // Ends the node's stream and takes it out of the fleet. kNotFound.
  Status Forget(const std::string& node_id) EXCLUDES(mutex_);
  // Sends the cluster settings again where they changed.
  void SettingsChanged() EXCLUDES(mutex_);
  void CloseAll(const Status& why) EXCLUDES(mutex_);

  // Blobs that the node holds entirely, as it said.
  size_t BlobsOf(const Node& node) const EXCLUDES(mutex_);
  std::vector<Reading> Readings() const EXCLUDES(mutex_);

 private:
  struct Session {
    std::string node_id;
    NodeId number{};
    std::string cluster;
    std::string name, data_address, control_address;
    Labels labels;
    std::shared_ptr<NodeLink> link;
    std::shared_ptr<const net::Certificate> certificate;
    SteadyTime last_heard{};
    bool in_snapshot = false;  // of its inventory
    size_t snapshot_blobs = 0;
    bool held_before = false;  // the snapshot: something; only then are its blobs kept
    std::vector<Digest> snapshot;
  };
  struct Cluster {
    explicit Cluster(uint64_t seed) : tracker(seed) {}
    Tracker tracker;
    size_t sessions = 0;
    uint64_t told_share = 0;  // of the origin's rate
    uint64_t told_rate = 0;
  };

  Cluster& ClusterOf(const std::string& name) REQUIRES(mutex_);
  Session* Find(NodeId number) REQUIRES(mutex_);
  Status Handle(Session& session, const v1::FromNode& message) REQUIRES(mutex_);
  Status Join(Session& session, const v1::JoinBlob& join) REQUIRES(mutex_);
  Status TakeInventory(Session& session, const v1::Inventory& inventory) REQUIRES(mutex_);
  Status Attest(Session& session, const v1::Attestation& attestation) REQUIRES(mutex_);
  Status Accuse(Session& session, const v1::Blame& blame) REQUIRES(mutex_);
  void Locate(Session& session, const Digest& blob) REQUIRES(mutex_);
  void Flush(const std::string& cluster) REQUIRES(mutex_);
  void TellNeighbours(const std::string& cluster, Session& to, const Digest& blob,
                      const std::vector<NodeId>& nodes, bool located) REQUIRES(mutex_);
  void TellBan(const std::string& cluster, const std::string& node_id, bool banned)
      REQUIRES(mutex_);
  void Refuse(Session& session, const Digest& blob, const Status& why) REQUIRES(mutex_);
  uint64_t ShareOf(const std::string& cluster, uint64_t rate) REQUIRES(mutex_);
  void End(SessionId id, const Status& why) REQUIRES(mutex_);

  const Options options_;
  mutable Mutex mutex_;
  SessionId next_session_ GUARDED_BY(mutex_) = 1;
  std::map<SessionId, Session> sessions_ GUARDED_BY(mutex_);
  std::unordered_map<uint32_t, SessionId> by_number_ GUARDED_BY(mutex_);
  std::vector<Digest> dropped_ GUARDED_BY(mutex_);  // by the node whose message is looked at
  std::map<std::string, std::unique_ptr<Cluster>> clusters_ GUARDED_BY(mutex_);
  // Nodes whose stream broke, until they count as gone.
  std::map<std::pair<std::string, uint32_t>, SteadyTime> absent_ GUARDED_BY(mutex_);
};

}  // namespace hearth::manager
