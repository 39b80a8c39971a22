// TagCache: what each tag meant when its registry last said so.
//
// In memory only, bounded; the tag that was not asked for longest is forgotten. Any thread.
#pragma once

#include <cstddef>
#include <optional>
#include <string>

#include "base/digest.h"
#include "base/lru_map.h"
#include "base/thread.h"
#include "oci/registry.h"

namespace hearth::plugin {

class TagCache {
 public:
  explicit TagCache(size_t max_tags = 4096) : tags_(max_tags) {}

  // The registry of `access` just said that `tag` of its repository is `digest`. The credential
  // does not count.
  void Note(const oci::Access& access, const std::string& tag, const Digest& digest);
  // The registry has no such tag.
  void Forget(const oci::Access& access, const std::string& tag);
  std::optional<Digest> Find(const oci::Access& access, const std::string& tag);

 private:
  Mutex mutex_;
  LruMap<Digest, Digest> tags_ GUARDED_BY(mutex_);  // by registry, repository and tag
};

}  // namespace hearth::plugin
