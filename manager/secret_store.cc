#include "manager/secret_store.h"

#include <algorithm>
#include <utility>

#include "base/log.h"

namespace hearth::manager {

namespace {

constexpr kv::Family kFamily = kv::Family::kOrders;
constexpr char kPrefix[] = "secret/";

std::string KeyOf(const std::string& name) { return kPrefix + name; }

Status NoSecret(const std::string& name) { return NotFound("there is no secret " + name); }

}  // namespace

Status SecretStore::Put(const PullSecret& secret) {
  const auto names = TRY(Names());
  const bool known = std::find(names.begin(), names.end(), secret.name) != names.end();
  if (!known && names.size() >= kMaxSecrets) {
    return ResourceExhausted("there are " + std::to_string(kMaxSecrets) + " secrets (remove some)");
  }
  const std::string key = KeyOf(secret.name);
  return kv_.Put(kFamily, key, sealer_.Seal(secret.docker_config.Reveal(), key), kv::Sync::kYes);
}

Result<PullSecret> SecretStore::Find(const std::string& name) const {
  const std::string key = KeyOf(name);
  const auto sealed = kv_.Get(kFamily, key);
  if (sealed.status().code() == StatusCode::kNotFound) return NoSecret(name);
  if (!sealed.ok()) return sealed.status();
  return PullSecret{name, TRY(sealer_.Unseal(*sealed, key))};
}

Status SecretStore::Remove(const std::string& name) {
  const std::string key = KeyOf(name);
  const auto sealed = kv_.Get(kFamily, key);
  if (sealed.status().code() == StatusCode::kNotFound) return NoSecret(name);
  TRY_STATUS(sealed);
  return kv_.Delete(kFamily, key, kv::Sync::kYes);
}

Result<size_t> SecretStore::Renew() {
  kv::Batch batch;
  TRY_STATUS(kv_.Scan(kFamily, kPrefix, [&](std::string_view key, std::string_view sealed) {
    auto renewed = sealer_.Renew(sealed, key);
    if (!renewed.ok()) {
      LOG_WARNING("a kept secret cannot be read", {{"key", key}, {"error", renewed.status()}});
    } else if (*renewed) {
      batch.Put(kFamily, std::string(key), **std::move(renewed));
    }
    return true;
  }));
  if (!batch.empty()) TRY_STATUS(kv_.Write(batch, kv::Sync::kYes));
  return batch.changes().size();
}

Result<std::vector<std::string>> SecretStore::Names() const {
  std::vector<std::string> names;
  TRY_STATUS(kv_.Scan(kFamily, kPrefix, [&](std::string_view key, std::string_view) {
    names.emplace_back(key.substr(sizeof(kPrefix) - 1));
    return true;
  }));
  return names;
}

}  // namespace hearth::manager
