// NewJob: a job that is to be made, and how its nodes are chosen. Plain data.
#pragma once

#include <functional>
#include <vector>

#include "base/status.h"
#include "manager/fleet.h"
#include "manager/job.h"

namespace hearth::manager {

struct NewJob {
  Job job;  // without ID, times, state and targets
  JobSecrets secrets;
  // Its targets among the nodes as they are when it is made. Must not call back.
  std::function<Result<std::vector<Target>>(const std::vector<Node>&)> choose;
};

}  // namespace hearth::manager
