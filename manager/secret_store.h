// SecretStore: credentials of registries that pull jobs name, sealed in the manager's store.
//
// Written once, never shown again. Any thread.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/status.h"
#include "kv/kv.h"
#include "manager/pull_secret.h"
#include "manager/sealer.h"

namespace hearth::manager {

class SecretStore {
 public:
  static constexpr size_t kMaxSecrets = 10'000;

  // Both must outlive it.
  SecretStore(kv::Kv& kv, const Sealer& sealer) : kv_(kv), sealer_(sealer) {}

  // New, or in place of the one of that name. Survives a power loss. kResourceExhausted.
  Status Put(const PullSecret& secret);
  // "namespace/name". kNotFound; otherwise as Sealer::Unseal().
  Result<PullSecret> Find(const std::string& name) const;
  Status Remove(const std::string& name);  // kNotFound
  Result<std::vector<std::string>> Names() const;
  // Seals what another key than the first one sealed anew with that: how many were. What cannot be
  // read is left as it is, and logged.
  Result<size_t> Renew();

 private:
  kv::Kv& kv_;
  const Sealer& sealer_;
};

}  // namespace hearth::manager
