// ManifestObserver: who wants to hear of the manifests and indexes that pass through the mirror.
#pragma once

#include <string>

#include "base/digest.h"
#include "base/log.h"

namespace hearth::plugin {

// A document that its origin just gave to a caller.
struct SeenManifest {
  std::string registry;               // domain: "docker.io"
  std::string repository;             // "library/nginx"
  Secret<std::string> authorization;  // the caller's own header, "" = none was needed
  Digest digest;                      // of `body`, verified
  std::string media_type;
  std::string body;
};

class ManifestObserver {
 public:
  virtual ~ManifestObserver() = default;
  // On a worker; must not block for long.
  virtual void OnManifest(const SeenManifest& seen) = 0;
};

}  // namespace hearth::plugin
