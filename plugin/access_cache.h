// AccessCache: which credential may read which repository, as its registry said lately.
//
// Holds hashes, no credentials. Any thread.
#pragma once

#include <chrono>
#include <cstddef>
#include <string>
#include <unordered_map>

#include "base/clock.h"
#include "base/digest.h"
#include "base/thread.h"
#include "oci/registry.h"

namespace hearth::plugin {

class AccessCache {
 public:
  struct Options {
    std::chrono::seconds ttl{300};  // node.toml mirror.auth_cache
    // How long an old answer still counts while the registry cannot be asked.
    std::chrono::hours offline_ttl{24};
    size_t max_entries = 4096;  // beyond it the oldest goes
    const Clock& clock = RealClock();
  };
  explicit AccessCache(Options options) : options_(options) {}

  // The registry accepted this access just now.
  void Grant(const oci::Access& access);
  // It refused. `challenge` is its Basic challenge, "" for none or another kind: only a Basic
  // credential is the same the next time.
  void Revoke(const oci::Access& access, const std::string& challenge = "");
  bool Allows(const oci::Access& access) const { return IsYounger(access, options_.ttl); }
  // For when the registry cannot be reached.
  bool AllowsOffline(const oci::Access& access) const {
    return IsYounger(access, options_.offline_ttl);
  }
  // The Basic challenge with which the registry refused this access; "" where it did not. Clients
  // send their credential only after one, and while the registry is down nobody else gives it.
  std::string ChallengeOffline(const oci::Access& access) const;

 private:
  bool IsYounger(const oci::Access& access, std::chrono::seconds limit) const;

  const Options options_;
  mutable Mutex mutex_;
  std::unordered_map<Digest, SteadyTime> granted_ GUARDED_BY(mutex_);
  struct Refusal {
    SteadyTime time;
    std::string challenge;
  };
  std::unordered_map<Digest, Refusal> refused_ GUARDED_BY(mutex_);
};

}  // namespace hearth::plugin
