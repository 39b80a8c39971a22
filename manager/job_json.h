// Jobs as the API shows them: Dragonfly's fields and states, and ours beside them. Pure.
//
// No secret is in them: username and password are empty texts, a header's value and a signature in
// a URL are "***".
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "manager/clusters.h"
#include "manager/job.h"

namespace hearth::manager {

inline constexpr size_t kMaxJobJsonBytes = 64 << 10;
inline constexpr size_t kMaxNodesJsonBytes = 4 << 20;  // of a page's tasks and failures

// The whole job, cut to kMaxJobJsonBytes: failures go first, "truncated" says that there are more.
std::string JobJson(const Job& job, const std::vector<ClusterInfo>& clusters);
// What was asked, and how far it is: without `result`.
std::string JobHeadJson(const Job& job, const std::vector<ClusterInfo>& clusters);
// Heads only, as a list.
std::string JobListJson(const std::vector<Job>& jobs, const std::vector<ClusterInfo>& clusters);

struct NodePage {
  size_t page = 1;
  size_t per_page = 100;
  std::optional<TargetState> state;
};
// As the node last said; nullopt: it has not.
using DiskFree = std::function<std::optional<uint64_t>(const std::string& node_id)>;
// {"total": …, "nodes": […], "truncated": …}: each node with its copies, as many as fit.
std::string JobNodesJson(const Job& job, const NodePage& page, const DiskFree& disk_free = nullptr);

}  // namespace hearth::manager
