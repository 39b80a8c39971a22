// containerd.types.Mount, both ways. For the *_service.cc files.
#pragma once

#include <vector>

#include "containerd/types/mount.pb.h"
#include "plugin/snapshotter.h"

namespace hearth::plugin {

using WireMounts = google::protobuf::RepeatedPtrField<containerd::types::Mount>;

inline void ToWireMounts(const std::vector<Mount>& mounts, WireMounts* out) {
  for (const Mount& mount : mounts) {
    auto* wire = out->Add();
    wire->set_type(mount.type);
    wire->set_source(mount.source);
    wire->set_target(mount.target);
    wire->mutable_options()->Assign(mount.options.begin(), mount.options.end());
  }
}

inline std::vector<Mount> FromWireMounts(const WireMounts& mounts) {
  std::vector<Mount> out;
  for (const auto& wire : mounts) {
    out.push_back({wire.type(),
                   wire.source(),
                   wire.target(),
                   {wire.options().begin(), wire.options().end()}});
  }
  return out;
}

}  // namespace hearth::plugin
