#include "plugin/access_cache.h"

#include <algorithm>
#include <string>

namespace hearth::plugin {
namespace {

constexpr size_t kMaxChallengeBytes = 1024;

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

// Room for `key` among at most `max_entries`; the oldest goes.
template <typename Map, typename TimeOf>
void MakeRoom(Map& map, const Digest& key, size_t max_entries, TimeOf time_of) {
  if (map.size() < max_entries || map.contains(key)) return;
  map.erase(std::min_element(map.begin(), map.end(), [&](const auto& a, const auto& b) {
    return time_of(a.second) < time_of(b.second);
  }));
}

}  // namespace

void AccessCache::Grant(const oci::Access& access) {
  const Digest key = KeyOf(access);
  MutexLock lock(mutex_);
  MakeRoom(granted_, key, options_.max_entries, [](SteadyTime time) { return time; });
  granted_[key] = options_.clock.SteadyNow();
  refused_.erase(key);
}

void AccessCache::Revoke(const oci::Access& access, const std::string& challenge) {
  const Digest key = KeyOf(access);
  MutexLock lock(mutex_);
  granted_.erase(key);
  refused_.erase(key);
  if (challenge.empty() || challenge.size() > kMaxChallengeBytes) return;
  MakeRoom(refused_, key, options_.max_entries, [](const Refusal& one) { return one.time; });
  refused_[key] = {options_.clock.SteadyNow(), challenge};
}

std::string AccessCache::ChallengeOffline(const oci::Access& access) const {
  const Digest key = KeyOf(access);
  MutexLock lock(mutex_);
  const auto found = refused_.find(key);
  if (found == refused_.end()) return "";
  const auto age = options_.clock.SteadyNow() - found->second.time;
  return age < options_.offline_ttl ? found->second.challenge : "";
}

bool AccessCache::IsYounger(const oci::Access& access, std::chrono::seconds limit) const {
  const Digest key = KeyOf(access);
  MutexLock lock(mutex_);
  const auto found = granted_.find(key);
  return found != granted_.end() && options_.clock.SteadyNow() - found->second < limit;
}

}  // namespace hearth::plugin
