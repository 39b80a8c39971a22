// ContentObserver: who wants to hear of what containerd commits through the content service.
#pragma once

#include <string>

#include "base/digest.h"

namespace hearth::plugin {

// Called on a worker after the answer was sent; must not block for long.
class ContentObserver {
 public:
  virtual ~ContentObserver() = default;
  // `ref` as containerd sent it: "<namespace>/<n>/<kind>-sha256:…"; blob is complete and claimed.
  virtual void OnCommitted(const std::string& ref, const Digest& digest, uint64_t size_bytes) = 0;
};

}  // namespace hearth::plugin
