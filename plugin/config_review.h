// ReviewConfig: whether a containerd's effective configuration gives a node what its level of
// installation promises.
//
// Pure functions over the text of `containerd config dump`. kInvalidArgument: it cannot be read.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/status.h"
#include "plugin/install_level.h"

namespace hearth::plugin {

struct ConfigExpectation {
  std::string version;  // of containerd, "2.1.9"
  InstallLevel level = InstallLevel::kContent;
  std::string socket;          // of the node
  std::string snapshots_root;  // of the node
};

struct ConfigProblem {
  bool grave = true;  // false = it works, but not as well as it could
  std::string what;
  std::string why;     // what follows from it
  std::string advice;  // what to do
};

// Empty where all is well. What depends on a problem that is named already is not named.
Result<std::vector<ConfigProblem>> ReviewConfig(const std::string& dump,
                                                const ConfigExpectation& expected);

// The level that the proxies in `dump` make; kMirror also where there is none of them.
Result<InstallLevel> LevelOf(const std::string& dump);

// Where CRI looks for hosts.toml files: one directory, or several separated by ':'; "" = nowhere.
Result<std::string> HostsDirectories(const std::string& dump);

}  // namespace hearth::plugin
