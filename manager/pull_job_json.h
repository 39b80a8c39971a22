// Pull jobs as the API shows them: KubeEdge's ImagePrePullJob of v1alpha2, with counts and bytes
// beside its status. Pure.
#pragma once

#include <string>

#include "manager/job.h"
#include "manager/pull_job.h"

namespace hearth::manager {

// The document that was asked for, as JSON: what PullJob::Read() reads back. No secret is in it but
// its name.
std::string PullJobDocument(const PullJob& job);

// `job` was made of `Job::document`. Cut to kMaxPullJobJsonBytes: failed nodes go first, then those
// that work, "truncated" says that there are more.
inline constexpr size_t kMaxPullJobJsonBytes = 256 << 10;
std::string PullJobJson(const Job& job);
// Of a list: its name, times, phase and counts, of one that ended no counts.
std::string PullJobHeadJson(const Job& job, const JobCounts& counts);

// "Init", "InProgress", "Completed" or "Failure".
std::string_view PullPhase(const Job& job, const JobCounts& counts);

}  // namespace hearth::manager
