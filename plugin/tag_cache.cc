#include "plugin/tag_cache.h"

namespace hearth::plugin {
namespace {

// None of the three has a "/:" in it.
Digest KeyOf(const oci::Access& access, const std::string& tag) {
  return Digest::Of(access.registry + "/:" + access.repository + "/:" + tag);
}

}  // namespace

void TagCache::Note(const oci::Access& access, const std::string& tag, const Digest& digest) {
  const Digest key = KeyOf(access, tag);
  MutexLock lock(mutex_);
  tags_.Put(key, digest);
}

void TagCache::Forget(const oci::Access& access, const std::string& tag) {
  const Digest key = KeyOf(access, tag);
  MutexLock lock(mutex_);
  tags_.Erase(key);
}

std::optional<Digest> TagCache::Find(const oci::Access& access, const std::string& tag) {
  const Digest key = KeyOf(access, tag);
  MutexLock lock(mutex_);
  const Digest* found = tags_.Find(key);
  return found == nullptr ? std::nullopt : std::optional(*found);
}

}  // namespace hearth::plugin
