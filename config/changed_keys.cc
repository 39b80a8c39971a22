#include "config/changed_keys.h"

namespace hearth::config {

ChangedKeys ChangedKeys::Of(const NodeConfig& before, const NodeConfig& after) {
  ChangedKeys changed;
  const auto note = [](std::vector<std::string>& where, const char* key, const auto& a,
                       const auto& b) {
    if (!(a == b)) where.emplace_back(key);
  };
  auto& live = changed.live;
  note(live, "log_level", before.log_level, after.log_level);
  note(live, "registry", before.registries, after.registries);
  note(live, "store", before.store, after.store);
  note(live, "limits.upload", before.limits.upload, after.limits.upload);
  note(live, "limits.download", before.limits.download, after.limits.download);
  note(live, "limits.origin", before.limits.origin, after.limits.origin);

  auto& restart = changed.restart;
  note(restart, "root", before.root, after.root);
  note(restart, "run", before.run, after.run);
  note(restart, "memory_limit", before.memory_limit_bytes, after.memory_limit_bytes);
  note(restart, "name", before.name, after.name);
  note(restart, "egress_allow", before.egress_allow, after.egress_allow);
  note(restart, "labels", before.labels, after.labels);
  note(restart, "containerd", before.containerd, after.containerd);
  note(restart, "mirror", before.mirror, after.mirror);
  note(restart, "proxy", before.proxy, after.proxy);
  note(restart, "status.listen", before.status_listen, after.status_listen);
  note(restart, "peer", before.peer, after.peer);
  note(restart, "manager", before.manager, after.manager);
  note(restart, "limits.uploads", before.limits.uploads, after.limits.uploads);
  // A key that nobody listed above still counts.
  if (live.empty() && restart.empty() && !(before == after)) restart.emplace_back("other keys");
  return changed;
}

}  // namespace hearth::config
