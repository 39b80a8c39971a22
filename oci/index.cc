#include "oci/index.h"

#include <climits>

#include "oci/media_type.h"

namespace hearth::oci {

Result<Descriptor> Index::Choose(const Platform& wanted) const {
  const Descriptor* best = nullptr;
  int best_rank = INT_MAX;
  std::string offered;
  for (const Descriptor& entry : manifests) {
    // An index may also list signatures and other artifacts.
    if (!IsManifestType(entry.media_type) && !IsIndexType(entry.media_type)) continue;
    if (entry.platform) {
      offered += (offered.empty() ? "" : ", ") + entry.platform->ToString();
    }
    const std::optional<int> rank =
        entry.platform ? PlatformRank(wanted, *entry.platform) : std::optional<int>(INT_MAX - 1);
    if (rank && *rank < best_rank) {
      best = &entry;
      best_rank = *rank;
    }
  }
  if (best != nullptr) return *best;
  return NotFound("index has no image for " + wanted.ToString() + " (it has " +
                  (offered.empty() ? "none" : offered) + ")");
}

}  // namespace hearth::oci
