// Clusters: the sets of nodes by the numbers and in the shape that Dragonfly's API knows them
// ("scheduler clusters"). A cluster comes into being with the first node that joins it, or before
// that by name. A number is given once. Any thread.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/status.h"
#include "base/thread.h"
#include "kv/kv.h"

namespace hearth::manager {

struct ClusterInfo {
  uint64_t id = 0;
  std::string name;
  std::string bio = {};
  WallTime created{};
  WallTime updated{};
};

class Clusters {
 public:
  static constexpr size_t kMaxClusters = 1'000;

  // `kv` and `clock` must outlive it.
  static Result<std::unique_ptr<Clusters>> Open(kv::Kv& kv, const Clock& clock);

  // The cluster of that name, new where it was not known.
  Result<ClusterInfo> Ensure(const std::string& name) EXCLUDES(mutex_);
  // kAlreadyExists; kInvalidArgument: the name; kResourceExhausted: kMaxClusters.
  Result<ClusterInfo> Create(const std::string& name, const std::string& bio) EXCLUDES(mutex_);
  Result<ClusterInfo> SetBio(uint64_t id, const std::string& bio) EXCLUDES(mutex_);  // kNotFound
  Status Remove(uint64_t id) EXCLUDES(mutex_);                                       // kNotFound
  Result<ClusterInfo> Find(uint64_t id) const EXCLUDES(mutex_);                      // kNotFound
  std::vector<ClusterInfo> List() const EXCLUDES(mutex_);                            // by ID

 private:
  Result<ClusterInfo> Make(const std::string& name, const std::string& bio) REQUIRES(mutex_);
  Result<ClusterInfo> FindHeld(uint64_t id) const REQUIRES(mutex_);
  Status Save(const ClusterInfo& cluster, uint64_t next_id) REQUIRES(mutex_);
  Clusters(kv::Kv& kv, const Clock& clock) : kv_(kv), clock_(clock) {}

  kv::Kv& kv_;
  const Clock& clock_;
  mutable Mutex mutex_;
  std::map<std::string, ClusterInfo> by_name_ GUARDED_BY(mutex_);
  uint64_t next_id_ GUARDED_BY(mutex_) = 1;
};

}  // namespace hearth::manager
