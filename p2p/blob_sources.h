// BlobSources: who gave how many bytes of the blobs that came in lately. Any thread.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/digest.h"
#include "base/lru_map.h"
#include "base/thread.h"
#include "p2p/traffic.h"

namespace hearth::p2p {

struct SourceBytes {
  ByteOrigin kind = ByteOrigin::kRegistry;
  std::string name;  // of a node, or "registry.example.com/team/app"
  uint64_t bytes = 0;
};

class BlobSources {
 public:
  static constexpr size_t kMaxBlobs = 2048;
  static constexpr size_t kMaxSourcesPerBlob = 32;  // further ones count as "others"

  struct Totals {
    uint64_t peer_bytes = 0;
    uint64_t origin_bytes = 0;
  };

  void Add(const Digest& blob, const SourceBytes& given);
  // The blob begins from nothing.
  void Forget(const Digest& blob);
  // Most bytes first; empty where nothing is remembered.
  std::vector<SourceBytes> Of(const Digest& blob) const;
  Totals TotalsOf(const Digest& blob) const;

 private:
  mutable Mutex mutex_;
  LruMap<Digest, std::vector<SourceBytes>> blobs_ GUARDED_BY(mutex_){kMaxBlobs};
};

}  // namespace hearth::p2p
