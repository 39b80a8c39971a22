// InstallLevel: how much of containerd's work a node takes over. Each level is useful alone.
#pragma once

#include <string>
#include <string_view>

#include "base/status.h"

namespace hearth::plugin {

enum class InstallLevel : uint8_t {
  kMirror,       // registries are asked through the node
  kSnapshotter,  // + layers are the node's
  kContent,      // + blobs are the node's, and it unpacks (containerd 1.7 and later)
};

// "mirror", "snapshotter", "content". kInvalidArgument for another word.
Result<InstallLevel> ParseInstallLevel(std::string_view word);
std::string InstallLevelName(InstallLevel level);

}  // namespace hearth::plugin
