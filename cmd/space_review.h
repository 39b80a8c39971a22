// ReviewSpace: whether the file system of a store has room, and who begins to delete first when it
// fills: the node, which only gives up what it can fetch again, or kubelet, which deletes images
// and evicts pods.
//
// Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "cmd/finding.h"
#include "cmd/kubelet_config.h"

namespace hearth::cmd {

struct SpaceState {
  std::string path;  // what for, for people
  uint64_t total_bytes = 0;
  uint64_t free_bytes = 0;    // for an unprivileged program
  uint64_t total_inodes = 0;  // 0 = the file system has no limit
  uint64_t free_inodes = 0;
  uint64_t min_free_bytes = 0;           // [store] min_free; 0 = off
  uint64_t min_free_inodes = 0;          // likewise
  std::optional<KubeletConfig> kubelet;  // absent = there is none on this machine
  bool shared_with_kubelet = false;      // its own directory is on the same file system
};

// "disk space", "inodes", and with a kubelet "disk thresholds".
void ReviewSpace(const SpaceState& state, Findings& findings);

}  // namespace hearth::cmd
