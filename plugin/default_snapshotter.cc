#include "plugin/default_snapshotter.h"

#include <utility>

#include "plugin/install_record.h"

namespace hearth::plugin {

Result<std::vector<std::string>> DefaultSnapshotter::SetWhereWanted() {
  std::vector<std::string> labelled;
  InstallRecord record = TRY(InstallRecord::Load(options_.prefix));
  if (record.pending_labels().empty() || record.containerd_address() != options_.address) {
    return labelled;
  }
  if (!TRY(options_.containerd.HasPlugin("io.containerd.snapshotter.v1", "hearth"))) {
    return labelled;
  }
  for (const std::string& name : std::exchange(record.pending_labels(), {})) {
    const std::string before =
        TRY(options_.containerd.NamespaceLabel(name, kDefaultSnapshotterLabel));
    if (before == "hearth") continue;
    // Written first: what uninstall does not know of it cannot take back.
    record.labels().emplace(name, before);
    record.pending_labels().push_back(name);
    TRY_STATUS(record.Save());
    TRY_STATUS(options_.containerd.LabelNamespace(name, {{kDefaultSnapshotterLabel, "hearth"}}));
    record.pending_labels().pop_back();
    labelled.push_back(name);
  }
  TRY_STATUS(record.Save());
  return labelled;
}

}  // namespace hearth::plugin
