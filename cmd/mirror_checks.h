// CheckMirror: whether containerd's clients are sent to the node's mirror, and whether it answers.
//
// Blocks for a few seconds at most.
#pragma once

#include <optional>
#include <string>

#include "cmd/containerd_checks.h"
#include "cmd/finding.h"
#include "cmd/node_checks.h"
#include "config/node_config.h"

namespace hearth::cmd {

struct MirrorOptions {
  const config::NodeConfig& config;
  std::string prefix;  // of files; "" = /
  const ContainerdFacts& containerd;
  const std::optional<RunningNode>& node;
};

// "registry hosts", and where a node answers "mirror".
void CheckMirror(const MirrorOptions& options, Findings& findings);

}  // namespace hearth::cmd
