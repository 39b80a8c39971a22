// The update_mask of containerd's Update calls, which can change labels only.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "base/status.h"

namespace hearth::plugin {

// As BlobStore::UpdateLabels and SnapshotStore::UpdateLabels take it.
struct LabelChange {
  std::map<std::string, std::string> labels;  // "" deletes
  bool replace = false;
};

// `paths`: none or "labels" = `labels` replaces all; "labels.KEY" = that one is set, or deleted
// where `labels` has no (or an empty) value for it. kInvalidArgument for any other path.
Result<LabelChange> ApplyLabelMask(const std::vector<std::string>& paths,
                                   const std::map<std::string, std::string>& labels);

}  // namespace hearth::plugin
