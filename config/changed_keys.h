// ChangedKeys: what differs between two configs, and what of that a running node can take over.
#pragma once

#include <string>
#include <vector>

#include "config/node_config.h"

namespace hearth::config {

struct ChangedKeys {
  std::vector<std::string> live;     // taken over by a reload
  std::vector<std::string> restart;  // in force after a restart

  static ChangedKeys Of(const NodeConfig& before, const NodeConfig& after);
};

}  // namespace hearth::config
