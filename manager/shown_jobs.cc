#include "manager/shown_jobs.h"

#include <utility>

namespace hearth::manager {

ShownJobs::Version ShownJobs::VersionOf(JobFeed::Revision revision,
                                        const std::vector<ClusterInfo>& clusters) {
  Version version{revision, {}};
  for (const ClusterInfo& cluster : clusters) {
    version.clusters.emplace_back(cluster.id, cluster.updated);
  }
  return version;
}

std::optional<std::string> ShownJobs::Find(JobId id, const Version& version) const {
  MutexLock lock(mutex_);
  const auto found = shown_.find(id);
  if (found == shown_.end() || found->second.version != version) return std::nullopt;
  return found->second.text;
}

void ShownJobs::Keep(JobId id, Version version, const std::string& text) {
  MutexLock lock(mutex_);
  if (!shown_.contains(id) && shown_.size() >= kMaxJobs) shown_.erase(shown_.begin());
  shown_[id] = {std::move(version), text};
}

}  // namespace hearth::manager
