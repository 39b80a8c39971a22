// CheckNode: whether the node runs, and what it says of itself.
//
// Blocks for a few seconds at most.
#pragma once

#include <optional>
#include <string>

#include "cmd/finding.h"
#include "config/node_config.h"

namespace hearth::cmd {

// What a running node says of itself.
struct RunningNode {
  int pid = 0;
  std::string mirror;  // where it really listens
  std::string status;  // likewise
};

// "node", and where one answers "node ready", "node to containerd", "open files", "store" and both
// sockets' permissions. nullopt where none answers: what depends on it is not worth a finding then.
std::optional<RunningNode> CheckNode(const config::NodeConfig& config, Findings& findings);

}  // namespace hearth::cmd
