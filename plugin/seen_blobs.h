// SeenBlobs: which blobs belong to which repository, and their sizes, as manifests and registries
// said.
//
// That a client may read a repository says nothing about a blob which only another one has; this
// does. Bounded; what was not asked for longest is forgotten. Any thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

#include "base/digest.h"
#include "base/lru_map.h"
#include "base/thread.h"
#include "oci/registry.h"

namespace hearth::plugin {

class SeenBlobs {
 public:
  explicit SeenBlobs(size_t max_blobs = 16 * 1024) : sizes_(max_blobs) {}

  // Registry and repository of `access` count, the credential does not.
  void Add(const oci::Access& access, const Digest& digest, uint64_t size_bytes);
  // What a manifest or index of that repository names; nothing where it cannot be read.
  void AddChildren(const oci::Access& access, std::string_view document,
                   std::string_view media_type);
  // Size of the blob; nullopt when that repository is not known to have it.
  std::optional<uint64_t> Find(const oci::Access& access, const Digest& digest);

 private:
  Mutex mutex_;
  LruMap<Digest, uint64_t> sizes_ GUARDED_BY(mutex_);  // by registry, repository and digest
};

}  // namespace hearth::plugin
