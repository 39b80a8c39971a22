#include "manager/clusters.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

#include "base/units.h"
#include "net/certificate.h"

namespace hearth::manager {

namespace {

using nlohmann::json;

constexpr std::string_view kKeys = "cluster/";
constexpr const char* kNextKey = "next_cluster";

}  // namespace

Result<std::unique_ptr<Clusters>> Clusters::Open(kv::Kv& kv, const Clock& clock) {
  std::unique_ptr<Clusters> clusters(new Clusters(kv, clock));
  MutexLock lock(clusters->mutex_);
  std::map<std::string, ClusterInfo>& known = clusters->by_name_;
  uint64_t& next_id = clusters->next_id_;
  Status bad;
  TRY_STATUS(kv.Scan(kv::Family::kMeta, kKeys,
                     [&](std::string_view key, std::string_view value) NO_THREAD_SAFETY_ANALYSIS {
                       ClusterInfo cluster{.name = std::string(key.substr(kKeys.size()))};
                       try {
                         const json record = json::parse(value);
                         cluster.id = record.at("id").get<uint64_t>();
                         cluster.created = FromUnixNanos(record.at("created").get<int64_t>());
                         cluster.updated = FromUnixNanos(record.at("updated").get<int64_t>());
                         cluster.bio = record.value("bio", "");
                       } catch (const json::exception& error) {
                         bad = DataLoss("record " + std::string(key) + ": " + error.what());
                       }
                       next_id = std::max(next_id, cluster.id + 1);
                       known[cluster.name] = cluster;
                       return bad.ok();
                     }));
  TRY_STATUS(bad);
  const auto next = kv.Get(kv::Family::kMeta, kNextKey);
  if (next.ok()) {
    next_id = std::max(next_id, ParseDecimal(*next).value_or(0));
  } else if (next.status().code() != StatusCode::kNotFound) {
    return next.status();
  }
  return clusters;
}

Status Clusters::Save(const ClusterInfo& cluster, uint64_t next_id) {
  const json record = {{"id", cluster.id},
                       {"created", ToUnixNanos(cluster.created)},
                       {"updated", ToUnixNanos(cluster.updated)},
                       {"bio", cluster.bio}};
  kv::Batch batch;
  batch.Put(kv::Family::kMeta, std::string(kKeys) + cluster.name,
            record.dump(-1, ' ', false, json::error_handler_t::replace));
  batch.Put(kv::Family::kMeta, kNextKey, std::to_string(next_id));
  return kv_.Write(batch, kv::Sync::kYes);
}

Result<ClusterInfo> Clusters::Make(const std::string& name, const std::string& bio) {
  const WallTime now = clock_.WallNow();
  const ClusterInfo cluster{
      .id = next_id_, .name = name, .bio = bio, .created = now, .updated = now};
  TRY_STATUS(Save(cluster, next_id_ + 1));
  ++next_id_;
  by_name_[name] = cluster;
  return cluster;
}

Result<ClusterInfo> Clusters::Create(const std::string& name, const std::string& bio) {
  if (!net::Identity::Parse("hearth://" + name + "/node/x").ok()) {
    return InvalidArgument("name: must be 1 to 64 letters, digits, '.', '-' and '_'");
  }
  MutexLock lock(mutex_);
  if (by_name_.contains(name)) return AlreadyExists("there is a cluster " + name);
  if (by_name_.size() >= kMaxClusters) {
    return ResourceExhausted("there are " + std::to_string(kMaxClusters) + " clusters");
  }
  return Make(name, bio);
}

Result<ClusterInfo> Clusters::SetBio(uint64_t id, const std::string& bio) {
  MutexLock lock(mutex_);
  ClusterInfo cluster = TRY(FindHeld(id));
  cluster.bio = bio;
  cluster.updated = clock_.WallNow();
  TRY_STATUS(Save(cluster, next_id_));
  by_name_[cluster.name] = cluster;
  return cluster;
}

Status Clusters::Remove(uint64_t id) {
  MutexLock lock(mutex_);
  const ClusterInfo cluster = TRY(FindHeld(id));
  TRY_STATUS(kv_.Delete(kv::Family::kMeta, std::string(kKeys) + cluster.name, kv::Sync::kYes));
  by_name_.erase(cluster.name);
  return OkStatus();
}

Result<ClusterInfo> Clusters::Ensure(const std::string& name) {
  MutexLock lock(mutex_);
  if (const auto known = by_name_.find(name); known != by_name_.end()) return known->second;
  return Make(name, "");
}

Result<ClusterInfo> Clusters::Find(uint64_t id) const {
  MutexLock lock(mutex_);
  return FindHeld(id);
}

Result<ClusterInfo> Clusters::FindHeld(uint64_t id) const {
  for (const auto& [name, cluster] : by_name_) {
    if (cluster.id == id) return cluster;
  }
  return NotFound("there is no cluster " + std::to_string(id));
}

std::vector<ClusterInfo> Clusters::List() const {
  MutexLock lock(mutex_);
  std::vector<ClusterInfo> list;
  for (const auto& [name, cluster] : by_name_) list.push_back(cluster);
  std::ranges::sort(list, {}, &ClusterInfo::id);
  return list;
}

}  // namespace hearth::manager
