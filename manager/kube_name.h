// Names as Kubernetes has them.
#pragma once

#include <string_view>

namespace hearth::manager {

// Lower case letters, digits, "-" and "."; at most 253 bytes.
bool IsKubeName(std::string_view text);
// "namespace/name"
bool IsKubePath(std::string_view text);

}  // namespace hearth::manager
