// InventoryClient: what containerd's metadata names, read namespace by namespace over its own API.
//
// Any thread but containerd's handlers in us (they would deadlock). Every call has a deadline, and
// ends early with kCancelled; kUnavailable says that containerd, or we to it, do not answer.
#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <stop_token>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/digest.h"
#include "base/status.h"

namespace hearth::plugin {

struct ContentRecord {
  Digest digest;
  uint64_t size_bytes = 0;
  std::map<std::string, std::string> labels;
};

// A snapshot as containerd's clients see it; what the snapshotter calls it is not told.
struct SnapshotRecord {
  std::string key;
  std::string parent_key;  // "" = none
  WallTime created;
  WallTime updated;
  std::map<std::string, std::string> labels;
};

struct ContainerRecord {
  std::string id;
  std::string image;         // name of its record, "" = none
  std::string snapshotter;   // plugin
  std::string snapshot_key;  // of its writable layer, "" = none
  bool has_task = false;     // its root is mounted now
};

class InventoryClient {
 public:
  struct Options {
    std::string address;  // unix socket path
    // A namespace with thousands of snapshots takes a call to us for each.
    std::chrono::milliseconds timeout{60'000};
  };
  static std::unique_ptr<InventoryClient> Create(Options options);
  virtual ~InventoryClient() = default;

  // Blobs with a sha256 digest; others cannot be ours.
  virtual Result<std::vector<ContentRecord>> Content(const std::string& ns,
                                                     std::stop_token stop) = 0;
  // Gives `take` the blob's bytes from `offset_bytes` on, in order; its error ends the call.
  // kNotFound; what comes is as containerd has it, not verified.
  virtual Status ReadContent(const std::string& ns, const ContentRecord& content,
                             uint64_t offset_bytes,
                             const std::function<Status(std::span<const char>)>& take,
                             std::stop_token stop) = 0;
  // Those that the snapshotter plugin knows when it is asked for each; containerd leaves out
  // others.
  virtual Result<std::vector<SnapshotRecord>> Snapshots(const std::string& ns,
                                                        const std::string& snapshotter,
                                                        std::stop_token stop) = 0;
  virtual Result<std::vector<ContainerRecord>> Containers(const std::string& ns,
                                                          std::stop_token stop) = 0;
};

}  // namespace hearth::plugin
