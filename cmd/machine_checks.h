// CheckMachine: what a node needs of the machine itself: room, clock, file systems.
//
// Works without any node or containerd. Blocks for a few seconds where a registry is to be asked.
#pragma once

#include <string>

#include "cmd/finding.h"
#include "config/node_config.h"

namespace hearth::cmd {

struct MachineOptions {
  const config::NodeConfig& config;
  std::string prefix;    // of kubelet's file; "" = /
  std::string registry;  // whose clock to compare with; "" = none
};

// "overlayfs", "file system of the store", "disk space", "inodes", "disk thresholds", "clock",
// "boot id", "clock against REGISTRY".
void CheckMachine(const MachineOptions& options, Findings& findings);

}  // namespace hearth::cmd
