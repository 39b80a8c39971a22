// What install and uninstall share: where the node's config is, and how they end.
#pragma once

#include <string>

#include "cmd/commands.h"

namespace hearth::cmd {

// The node's config as it is below `prefix`, the defaults where there is none.
Result<config::NodeConfig> NodeConfigBelow(const Common& common, const std::string& prefix);

// The exit code; an error is said on stderr.
int EndInstallation(const std::string& what, const Result<int>& result);

}  // namespace hearth::cmd
