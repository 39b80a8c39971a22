#include "plugin/label_mask.h"

#include <string_view>

namespace hearth::plugin {

Result<LabelChange> ApplyLabelMask(const std::vector<std::string>& paths,
                                   const std::map<std::string, std::string>& labels) {
  static constexpr std::string_view kAll = "labels";
  static constexpr std::string_view kOne = "labels.";
  LabelChange change;
  change.replace = paths.empty();
  for (const std::string& path : paths) {
    if (path == kAll) {
      change.replace = true;
    } else if (path.starts_with(kOne) && path.size() > kOne.size()) {
      const std::string key = path.substr(kOne.size());
      auto found = labels.find(key);
      change.labels[key] = found == labels.end() ? "" : found->second;
    } else {
      return InvalidArgument("cannot update field \"" + path + "\", only labels can change");
    }
  }
  if (change.replace) change.labels = labels;
  return change;
}

}  // namespace hearth::plugin
