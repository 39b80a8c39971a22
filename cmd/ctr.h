// Ctr: what install and doctor ask of a running containerd, through its own `ctr`.
//
// Each call runs `ctr` once, with a time limit. kNotFound: no ctr in PATH; kUnavailable: containerd
// does not answer. One thread at a time.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/status.h"
#include "plugin/default_snapshotter.h"

namespace hearth::cmd {

using plugin::kDefaultSnapshotterLabel;

struct ContainerdPlugin {
  std::string type;  // "io.containerd.snapshotter.v1"
  std::string id;    // "hearth"
  std::string status;
};

class Ctr {
 public:
  explicit Ctr(std::string address) : address_(std::move(address)) {}

  Result<std::vector<ContainerdPlugin>> Plugins() const;
  // Value of the label in each namespace that has it.
  Result<std::map<std::string, std::string>> NamespaceLabels(const std::string& label) const;
  // "k8s.io: 0f3a…" for each container whose snapshots are of that snapshotter.
  Result<std::vector<std::string>> ContainersOf(const std::string& snapshotter) const;
  // Makes the namespace where it is absent; an empty value takes the label away.
  Status LabelNamespace(const std::string& name, const std::string& label,
                        const std::string& value) const;

 private:
  Result<std::string> Run(const std::vector<std::string>& arguments) const;

  const std::string address_;
};

// Of `ctr plugins ls` and `ctr namespaces ls`.
std::vector<ContainerdPlugin> ParsePlugins(const std::string& printed);
std::map<std::string, std::string> ParseNamespaceLabels(const std::string& printed,
                                                        const std::string& label);

}  // namespace hearth::cmd
