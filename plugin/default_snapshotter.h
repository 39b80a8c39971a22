// DefaultSnapshotter: makes ours the default snapshotter of the namespaces that an installation
// names, as soon as containerd has it loaded; before that, the label would break every pull.
//
// What is wanted, and what stood there before, is in the installation's record, which uninstall
// reads. One thread at a time; blocks on containerd, so never inside one of its calls.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "base/status.h"
#include "plugin/containerd_client.h"

namespace hearth::plugin {

inline constexpr const char* kDefaultSnapshotterLabel = "containerd.io/defaults/snapshotter";

class DefaultSnapshotter {
 public:
  struct Options {
    ContainerdClient& containerd;
    std::string address;                // of that containerd: another one's is left alone
    std::filesystem::path prefix = {};  // of the record's file
  };
  explicit DefaultSnapshotter(Options options) : options_(std::move(options)) {}

  // The namespaces labelled now; none while nothing is wanted or our snapshotter is not loaded.
  // Errors: containerd's (what is left is tried again), and those of the record.
  Result<std::vector<std::string>> SetWhereWanted();

 private:
  const Options options_;
};

}  // namespace hearth::plugin
