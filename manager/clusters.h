// Clusters: the sets of nodes by the numbers and in the shape that Dragonfly's API knows them
// ("scheduler clusters"). A cluster comes into being with the first node that joins it. Any thread.
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
  WallTime created{};
  WallTime updated{};
};

class Clusters {
 public:
  // `kv` and `clock` must outlive it.
  static Result<std::unique_ptr<Clusters>> Open(kv::Kv& kv, const Clock& clock);

  // The cluster of that name, new where it was not known.
  Result<ClusterInfo> Ensure(const std::string& name) EXCLUDES(mutex_);
  Result<ClusterInfo> Find(uint64_t id) const EXCLUDES(mutex_);  // kNotFound
  std::vector<ClusterInfo> List() const EXCLUDES(mutex_);        // by ID

 private:
  Clusters(kv::Kv& kv, const Clock& clock) : kv_(kv), clock_(clock) {}

  kv::Kv& kv_;
  const Clock& clock_;
  mutable Mutex mutex_;
  std::map<std::string, ClusterInfo> by_name_ GUARDED_BY(mutex_);
};

}  // namespace hearth::manager
