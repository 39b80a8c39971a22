// Fleet: the nodes that ever joined: names, keys, labels, addresses, versions, bans.
//
// What a restart must keep is in the store; who is connected, and what a node last said of its
// disk, is not. Any thread.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/clock.h"
#include "base/digest.h"
#include "base/status.h"
#include "base/thread.h"
#include "kv/kv.h"
#include "manager/member.h"

namespace hearth::manager {

// What a node says of itself.
struct NodeProfile {
  std::string name;
  std::map<std::string, std::string> labels;
  std::string data_address;
  std::string control_address;
  std::string program_version;
};
// kInvalidArgument: which part is missing, too long or malformed.
Status CheckProfile(const NodeProfile& profile);
Labels PlaceOf(const std::map<std::string, std::string>& labels);

struct NodeUsage {
  uint64_t disk_free_bytes = 0;
  uint64_t disk_total_bytes = 0;
  uint64_t store_bytes = 0;
  uint64_t origin_bytes = 0;  // received since the node's start, by kind of source
  uint64_t peer_bytes = 0;
  uint64_t uploaded_bytes = 0;
};

struct Node {
  std::string id;   // 32 hex digits: the first of its key's sha256
  NodeId number{};  // the tracker's, never used again for another node
  std::string cluster;
  NodeProfile profile;
  WallTime joined{};
  WallTime last_seen{};
  bool banned = false;
  std::string ban_reason;
  bool cordoned = false;  // jobs made now leave it out
  std::string cordon_reason;
  // Not kept over a restart:
  bool connected = false;
  NodeUsage usage;
};

// Of a ban or a cordon, for people.
inline constexpr size_t kMaxReasonBytes = 512;

class Fleet {
 public:
  static constexpr size_t kMaxNodes = 20'000;

  // `kv` must outlive it.
  static Result<std::unique_ptr<Fleet>> Open(kv::Kv& kv, const Clock& clock);

  static std::string IdOf(const Digest& public_key_hash);

  // A node of that key, new or again. kAlreadyExists: the name is bound to another key, or the key
  // to another name or cluster; kPermissionDenied: banned; kResourceExhausted: kMaxNodes.
  Result<Node> Enroll(const Digest& public_key_hash, const std::string& cluster,
                      const NodeProfile& profile) EXCLUDES(mutex_);
  // The same without changing anything.
  Status CheckEnroll(const Digest& public_key_hash, const std::string& cluster,
                     const NodeProfile& profile) const EXCLUDES(mutex_);

  Result<Node> Find(std::string_view id) const EXCLUDES(mutex_);
  // By name or ID. kNotFound.
  Result<Node> FindByName(std::string_view name_or_id) const EXCLUDES(mutex_);
  std::vector<Node> List() const EXCLUDES(mutex_);  // by name

  // The node's stream began or ended; its profile as it says now. kNotFound: forgotten;
  // kInvalidArgument: another name than the one that its key is bound to.
  Status Connected(std::string_view id, const NodeProfile& profile) EXCLUDES(mutex_);
  void Disconnected(std::string_view id) EXCLUDES(mutex_);
  void Seen(std::string_view id, const std::optional<NodeUsage>& usage) EXCLUDES(mutex_);

  // From now on the name is free for another key. kNotFound.
  Status Forget(std::string_view id) EXCLUDES(mutex_);
  // kNotFound.
  Status SetBan(std::string_view id, bool banned, const std::string& reason) EXCLUDES(mutex_);
  // kNotFound.
  Status SetCordon(std::string_view id, bool cordoned, const std::string& reason) EXCLUDES(mutex_);
  // Of a cluster, IDs in order.
  std::vector<std::string> Banned(std::string_view cluster) const EXCLUDES(mutex_);

 private:
  Fleet(kv::Kv& kv, const Clock& clock) : kv_(kv), clock_(clock) {}
  Status Load() EXCLUDES(mutex_);
  Status CheckEnrollLocked(const std::string& id, const std::string& cluster,
                           const NodeProfile& profile) const REQUIRES(mutex_);
  Status Save(const Node& node, kv::Sync sync) REQUIRES(mutex_);
  // On disk first. kNotFound.
  Status Change(std::string_view id, const std::function<void(Node&)>& change) EXCLUDES(mutex_);

  kv::Kv& kv_;
  const Clock& clock_;
  mutable Mutex mutex_;
  std::map<std::string, Node, std::less<>> nodes_ GUARDED_BY(mutex_);         // by ID
  std::map<std::string, std::string, std::less<>> names_ GUARDED_BY(mutex_);  // name → ID
  uint32_t next_number_ GUARDED_BY(mutex_) = 1;
};

}  // namespace hearth::manager
