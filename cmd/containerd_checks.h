// CheckContainerd: whether containerd is one that Hearth works with, is configured for the level
// that is installed, and really uses the node.
//
// Asks the files, then the running containerd: it may have been started with other ones. Blocks for
// some seconds where one hangs.
#pragma once

#include <optional>
#include <string>

#include "cmd/finding.h"
#include "config/node_config.h"
#include "plugin/install_level.h"

namespace hearth::cmd {

struct ContainerdOptions {
  const config::NodeConfig& config;
  std::string prefix;         // of files; "" = /
  bool node_answers = false;  // so that a call through containerd can reach it
};

// What later checks build on.
struct ContainerdFacts {
  bool installed = false;  // Hearth is, at `level`
  plugin::InstallLevel level = plugin::InstallLevel::kMirror;
  std::string version;            // "" = not known
  std::string hosts_directories;  // CRI's; "" = nowhere
};

// "containerd version", "containerd config", "install level", "containerd", "containerd plugins",
// "content store", "snapshotter in use", "default snapshotter".
ContainerdFacts CheckContainerd(const ContainerdOptions& options, Findings& findings);

}  // namespace hearth::cmd
