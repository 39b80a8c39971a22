// ShownJobs: jobs as they were last shown, so that one that many ask for is rendered once after
// each change. Any thread.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/thread.h"
#include "manager/clusters.h"
#include "manager/job_feed.h"

namespace hearth::manager {

class ShownJobs {
 public:
  static constexpr size_t kMaxJobs = 64;  // of at most 64 KiB each

  // What a text was rendered from: a revision that was read before the job, and the clusters.
  struct Version {
    JobFeed::Revision revision = 0;
    std::vector<std::pair<uint64_t, WallTime>> clusters;
    friend bool operator==(const Version&, const Version&) = default;
  };
  static Version VersionOf(JobFeed::Revision revision, const std::vector<ClusterInfo>& clusters);

  std::optional<std::string> Find(JobId id, const Version& version) const EXCLUDES(mutex_);
  void Keep(JobId id, Version version, const std::string& text) EXCLUDES(mutex_);

 private:
  struct Shown {
    Version version;
    std::string text;
  };
  mutable Mutex mutex_;
  std::map<JobId, Shown> shown_ GUARDED_BY(mutex_);  // the oldest jobs give way
};

}  // namespace hearth::manager
