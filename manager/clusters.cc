#include "manager/clusters.h"

#include <algorithm>
#include <nlohmann/json.hpp>

namespace hearth::manager {

namespace {

using nlohmann::json;

constexpr std::string_view kKeys = "cluster/";

}  // namespace

Result<std::unique_ptr<Clusters>> Clusters::Open(kv::Kv& kv, const Clock& clock) {
  std::unique_ptr<Clusters> clusters(new Clusters(kv, clock));
  MutexLock lock(clusters->mutex_);
  std::map<std::string, ClusterInfo>& known = clusters->by_name_;
  Status bad;
  TRY_STATUS(kv.Scan(kv::Family::kMeta, kKeys, [&](std::string_view key, std::string_view value) {
    ClusterInfo cluster{.name = std::string(key.substr(kKeys.size()))};
    try {
      const json record = json::parse(value);
      cluster.id = record.at("id").get<uint64_t>();
      cluster.created = FromUnixNanos(record.at("created").get<int64_t>());
      cluster.updated = FromUnixNanos(record.at("updated").get<int64_t>());
    } catch (const json::exception& error) {
      bad = DataLoss("record " + std::string(key) + ": " + error.what());
    }
    known[cluster.name] = cluster;
    return bad.ok();
  }));
  TRY_STATUS(bad);
  return clusters;
}

Result<ClusterInfo> Clusters::Ensure(const std::string& name) {
  MutexLock lock(mutex_);
  if (const auto known = by_name_.find(name); known != by_name_.end()) return known->second;
  uint64_t last = 0;
  for (const auto& [other, cluster] : by_name_) last = std::max(last, cluster.id);
  const WallTime now = clock_.WallNow();
  const ClusterInfo cluster{.id = last + 1, .name = name, .created = now, .updated = now};
  const json record = {
      {"id", cluster.id}, {"created", ToUnixNanos(now)}, {"updated", ToUnixNanos(now)}};
  TRY_STATUS(kv_.Put(kv::Family::kMeta, std::string(kKeys) + name, record.dump(), kv::Sync::kYes));
  by_name_[name] = cluster;
  return cluster;
}

Result<ClusterInfo> Clusters::Find(uint64_t id) const {
  MutexLock lock(mutex_);
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
