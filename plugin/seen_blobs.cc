#include "plugin/seen_blobs.h"

#include <string>

#include "oci/index.h"
#include "oci/manifest.h"
#include "oci/media_type.h"

namespace hearth::plugin {
namespace {

Digest KeyOf(const oci::Access& access, const Digest& digest) {
  Sha256 hash;
  hash.Update(access.registry);
  hash.Update("/");
  hash.Update(access.repository);
  hash.Update("@");
  hash.Update(digest.bytes().data(), Digest::kBytes);
  return hash.Current();
}

}  // namespace

void SeenBlobs::Add(const oci::Access& access, const Digest& digest, uint64_t size_bytes) {
  const Digest key = KeyOf(access, digest);
  MutexLock lock(mutex_);
  sizes_.Put(key, size_bytes);
}

void SeenBlobs::AddChildren(const oci::Access& access, std::string_view document,
                            std::string_view media_type) {
  if (oci::IsIndexType(media_type)) {
    const auto index = oci::Index::Parse(document, media_type);
    if (!index.ok()) return;
    for (const oci::Descriptor& child : index->manifests) {
      Add(access, child.digest, child.size_bytes);
    }
    return;
  }
  const auto manifest = oci::Manifest::Parse(document, media_type);
  if (!manifest.ok()) return;
  Add(access, manifest->config.digest, manifest->config.size_bytes);
  for (const oci::Descriptor& child : manifest->layers) Add(access, child.digest, child.size_bytes);
}

std::optional<uint64_t> SeenBlobs::Find(const oci::Access& access, const Digest& digest) {
  const Digest key = KeyOf(access, digest);
  MutexLock lock(mutex_);
  const uint64_t* found = sizes_.Find(key);
  return found == nullptr ? std::nullopt : std::optional(*found);
}

}  // namespace hearth::plugin
