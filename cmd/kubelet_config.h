// KubeletConfig: at which free space kubelet evicts pods and deletes images.
//
// Of the text of its configuration file (/var/lib/kubelet/config.yaml); what is not set there has
// kubelet's own default. Pure functions.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/status.h"

namespace hearth::cmd {

inline constexpr const char* kKubeletConfigFile = "/var/lib/kubelet/config.yaml";

// Part of a file system, or a number of bytes (or inodes).
struct KubeletThreshold {
  double percent = 0;  // 0–100; used where `amount` is absent
  std::optional<uint64_t> amount;

  // Of a file system with `total`; 0 = off.
  uint64_t Of(uint64_t total) const;
  std::string Text() const;  // "15%", "10737418240"
};

struct KubeletConfig {
  KubeletThreshold images_available{15, {}};   // evictionHard imagefs.available
  KubeletThreshold node_available{10, {}};     // evictionHard nodefs.available
  KubeletThreshold inodes_free{5, {}};         // evictionHard nodefs.inodesFree
  KubeletThreshold images_inodes_free{5, {}};  // evictionHard imagefs.inodesFree
  double gc_high_percent = 85;                 // used; from there on it deletes images. 100 = never

  // kInvalidArgument: what cannot be read, and where.
  static Result<KubeletConfig> Parse(const std::string& yaml);
};

}  // namespace hearth::cmd
