// Which nodes a job is for. Pure.
#pragma once

#include <vector>

#include "base/status.h"
#include "manager/fleet.h"
#include "manager/job.h"

namespace hearth::manager {

// A node whose label "seed" is "true" is a seed peer. Where a cluster has none, one node stands in
// for them: the same for the same items, among those that are connected where there are any.
//
// `nodes` is the fleet. kNotFound: a cluster, node name or address that nothing has;
// kFailedPrecondition: no node is left, and why.
enum class Missing : uint8_t { kRefuse, kLeaveOut };  // of nodes that the spec names
Result<std::vector<Target>> ChooseTargets(const JobSpec& spec, const std::vector<Node>& nodes,
                                          Missing missing = Missing::kRefuse);
// Whether it takes some nodes of those that it matches.
bool TakesSome(const JobSpec& spec);

// That node, waiting, with nothing done yet.
Target TargetFor(const Node& node);

}  // namespace hearth::manager
