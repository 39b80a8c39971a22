// ManifestObserver: who wants to hear of the manifests that clients read through the mirror.
#pragma once

#include <string>

#include "base/digest.h"
#include "oci/registry.h"

namespace hearth::plugin {

class ManifestObserver {
 public:
  virtual ~ManifestObserver() = default;
  // A manifest or index whose digest was checked, from the origin or the store, for a caller whom
  // the origin lets read that repository. Runs on a handler's thread before the caller gets its
  // answer: must not block for long. `access` holds the caller's credential: keep it in memory, for
  // that repository only, for minutes.
  virtual void OnManifest(const oci::Access& access, const Digest& digest,
                          const std::string& media_type, const std::string& body) = 0;
};

}  // namespace hearth::plugin
