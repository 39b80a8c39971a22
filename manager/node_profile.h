// What a node says of itself on the wire, read and checked.
#pragma once

#include "base/status.h"
#include "manager/fleet.h"

namespace hearth::v1 {
class NodeInfo;
}

namespace hearth::manager {

// Without the version, which is said elsewhere. kInvalidArgument as CheckProfile().
Result<NodeProfile> ReadProfile(const v1::NodeInfo& info);

}  // namespace hearth::manager
