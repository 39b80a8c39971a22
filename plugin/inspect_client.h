// InspectClient: what `hearth doctor` asks of a running containerd, by its own API.
//
// One thread. Every call ends within the timeout; kUnavailable: nobody answers at the address.
#pragma once

#include <chrono>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/status.h"

namespace hearth::plugin {

struct LoadedPlugin {
  std::string type;  // "io.containerd.snapshotter.v1"
  std::string id;    // "hearth"
  bool skipped = false;
  std::string error;  // why it did not load; "" = it did
};

class InspectClient {
 public:
  struct Options {
    std::string address;  // unix socket path
    std::chrono::milliseconds timeout{5'000};
  };
  static std::unique_ptr<InspectClient> Create(Options options);
  virtual ~InspectClient() = default;

  virtual Result<std::string> Version() = 0;
  // What containerd was started with. A proxy plugin is "loaded" though nobody listens behind it.
  virtual Result<std::vector<LoadedPlugin>> Plugins() = 0;
  // Labels of every namespace, by its name.
  virtual Result<std::map<std::string, std::map<std::string, std::string>>> Namespaces() = 0;
  // Makes an empty snapshot through containerd and removes it: the directory that it lay in. The
  // only proof that a call reaches the snapshotter's process. Makes the namespace when absent.
  virtual Result<std::string> TrySnapshotter(const std::string& ns,
                                             const std::string& snapshotter) = 0;
};

}  // namespace hearth::plugin
