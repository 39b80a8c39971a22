#include "plugin/access_cache.h"

#include <algorithm>
#include <string>

namespace hearth::plugin {
namespace {

Digest KeyOf(const oci::Access& access) {
  Sha256 hash;
  for (const std::string* part :
       {&access.registry, &access.repository, &access.authorization.Reveal()}) {
    const uint64_t length = part->size();
    hash.Update(&length, sizeof(length));
    hash.Update(*part);
  }
  return hash.Current();
}

}  // namespace

void AccessCache::Grant(const oci::Access& access) {
  const Digest key = KeyOf(access);
  MutexLock lock(mutex_);
  if (granted_.size() >= options_.max_entries && !granted_.contains(key)) {
    granted_.erase(
        std::min_element(granted_.begin(), granted_.end(),
                         [](const auto& a, const auto& b) { return a.second < b.second; }));
  }
  granted_[key] = options_.clock.SteadyNow();
}

void AccessCache::Revoke(const oci::Access& access) {
  const Digest key = KeyOf(access);
  MutexLock lock(mutex_);
  granted_.erase(key);
}

bool AccessCache::IsYounger(const oci::Access& access, std::chrono::seconds limit) const {
  const Digest key = KeyOf(access);
  MutexLock lock(mutex_);
  const auto found = granted_.find(key);
  return found != granted_.end() && options_.clock.SteadyNow() - found->second < limit;
}

}  // namespace hearth::plugin
