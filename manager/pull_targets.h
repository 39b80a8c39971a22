// The nodes of a pull job. Pure.
#pragma once

#include <vector>

#include "base/status.h"
#include "manager/fleet.h"
#include "manager/job.h"
#include "manager/pull_job.h"

namespace hearth::manager {

// Nodes by name, or those that the selector matches now. One that is banned, or that never joined,
// is there as failed, with the reason. kFailedPrecondition: the selector matches no node.
Result<std::vector<Target>> ChoosePullTargets(const PullJob& job, const std::vector<Node>& nodes);

}  // namespace hearth::manager
