#include "manager/tokens.h"

#include <openssl/rand.h>

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>

#include "base/digest.h"

namespace hearth::manager {

namespace {

using nlohmann::json;

constexpr std::string_view kAccessPrefix = "hpat_";
constexpr size_t kSecretBytes = 24;
constexpr size_t kIdDigits = 12;
constexpr size_t kMaxTokenBytes = 256;
constexpr size_t kMinOwnTokenBytes = 37;  // "hpat_" and 32
constexpr size_t kMaxNameBytes = 64;
constexpr std::chrono::minutes kLastUseStep{1};
// In the store's kMeta family.
constexpr const char* kAccessKeys = "token/";
constexpr const char* kJoinKeys = "join/";

constexpr std::array<std::pair<Scope, std::string_view>, 8> kScopes = {{
    {Scope::kJobRead, "job:read"},
    {Scope::kJob, "job"},
    {Scope::kClusterRead, "cluster:read"},
    {Scope::kCluster, "cluster"},
    {Scope::kNodeRead, "node:read"},
    {Scope::kNode, "node"},
    {Scope::kAdminRead, "admin:read"},
    {Scope::kAdmin, "admin"},
}};

bool IsReading(Scope scope) {
  return scope == Scope::kJobRead || scope == Scope::kClusterRead || scope == Scope::kNodeRead ||
         scope == Scope::kAdminRead;
}

std::string RandomSecret() {
  std::array<uint8_t, kSecretBytes> bytes{};
  CHECK(RAND_bytes(bytes.data(), bytes.size()) == 1);
  return ToHex(bytes);
}

std::string HashOf(std::string_view text) { return Digest::Of(text).hex(); }

Status CheckName(const std::string& name) {
  if (name.empty() || name.size() > kMaxNameBytes ||
      std::ranges::any_of(name, [](char c) { return static_cast<unsigned char>(c) < 0x20; })) {
    return InvalidArgument("name: must be 1 to 64 bytes without control characters");
  }
  return OkStatus();
}

json ToJson(const AccessToken& token) {
  json scopes = json::array();
  for (const Scope scope : token.scopes) scopes.push_back(ScopeName(scope));
  json out = {
      {"name", token.name}, {"scopes", std::move(scopes)}, {"created", ToUnixNanos(token.created)}};
  if (token.expires) out["expires"] = ToUnixNanos(*token.expires);
  if (token.last_used) out["last_used"] = ToUnixNanos(*token.last_used);
  return out;
}

json ToJson(const JoinToken& token) {
  return {{"name", token.name},
          {"cluster", token.cluster},
          {"created", ToUnixNanos(token.created)},
          {"expires", ToUnixNanos(token.expires)},
          {"uses_left", token.uses_left},
          {"used", token.used}};
}

WallTime TimeAt(const json& record, const char* key) {
  return FromUnixNanos(record.at(key).get<int64_t>());
}

AccessToken AccessFrom(const std::string& hash, const json& record) {
  AccessToken token;
  token.id = hash.substr(0, kIdDigits);
  token.name = record.at("name").get<std::string>();
  token.created = TimeAt(record, "created");
  if (record.contains("expires")) token.expires = TimeAt(record, "expires");
  if (record.contains("last_used")) token.last_used = TimeAt(record, "last_used");
  for (const json& name : record.at("scopes")) {
    // One of a later version grants nothing here.
    if (const auto scope = ParseScope(name.get<std::string>()); scope.ok()) {
      token.scopes.push_back(*scope);
    }
  }
  return token;
}

JoinToken JoinFrom(const std::string& hash, const json& record) {
  return {.id = hash.substr(0, kIdDigits),
          .name = record.at("name").get<std::string>(),
          .cluster = record.at("cluster").get<std::string>(),
          .created = TimeAt(record, "created"),
          .expires = TimeAt(record, "expires"),
          .uses_left = record.at("uses_left").get<uint32_t>(),
          .used = record.at("used").get<uint32_t>()};
}

template <typename T>
Status Save(kv::Kv& kv, const char* keys, const std::string& hash, const T& token,
            kv::Sync sync = kv::Sync::kYes) {
  return kv.Put(kv::Family::kMeta, keys + hash,
                ToJson(token).dump(-1, ' ', false, json::error_handler_t::replace), sync);
}

template <typename T>
Status LoadAll(const kv::Kv& kv, const char* keys, T (*read)(const std::string&, const json&),
               std::map<std::string, T, std::less<>>& into) {
  Status bad;
  const std::string_view prefix = keys;
  TRY_STATUS(
      kv.Scan(kv::Family::kMeta, prefix, [&](std::string_view key, std::string_view value) -> bool {
        const std::string hash(key.substr(prefix.size()));
        try {
          into[hash] = read(hash, json::parse(value));
        } catch (const json::exception& error) {
          bad = DataLoss("record " + std::string(key) + ": " + error.what());
        }
        return bad.ok();
      }));
  return bad;
}

template <typename T>
std::vector<T> Values(const std::map<std::string, T, std::less<>>& tokens) {
  std::vector<T> list;
  for (const auto& [hash, token] : tokens) list.push_back(token);
  std::ranges::sort(list, {}, [](const T& token) { return token.created; });
  return list;
}

// An ID is the beginning of exactly one hash.
template <typename T>
Status Remove(kv::Kv& kv, const char* keys, std::map<std::string, T, std::less<>>& tokens,
              std::string_view id) {
  const auto found =
      std::ranges::find_if(tokens, [&](const auto& entry) { return entry.second.id == id; });
  if (found == tokens.end()) return NotFound("there is no token \"" + std::string(id) + "\"");
  TRY_STATUS(kv.Delete(kv::Family::kMeta, keys + found->first, kv::Sync::kYes));
  tokens.erase(found);
  return OkStatus();
}

}  // namespace

std::string_view ScopeName(Scope scope) {
  for (const auto& [known, name] : kScopes) {
    if (known == scope) return name;
  }
  return "public";
}

Result<Scope> ParseScope(std::string_view name) {
  std::string all;
  for (const auto& [scope, known] : kScopes) {
    if (known == name) return scope;
    all += (all.empty() ? "" : ", ") + std::string(known);
  }
  return InvalidArgument("\"" + std::string(name) + "\" is no scope (there are " + all + ")");
}

bool Grants(Scope held, Scope needed) {
  if (needed == Scope::kPublic || held == needed || held == Scope::kAdmin) return true;
  if (!IsReading(needed)) return false;
  // A reading scope stands before its writing one.
  return held == Scope::kAdminRead || static_cast<int>(held) == static_cast<int>(needed) + 1;
}

Result<std::unique_ptr<Tokens>> Tokens::Open(kv::Kv& kv, const Clock& clock) {
  std::unique_ptr<Tokens> tokens(new Tokens(kv, clock));
  TRY_STATUS(tokens->Load());
  return tokens;
}

Status Tokens::Load() {
  MutexLock lock(mutex_);
  TRY_STATUS(LoadAll(kv_, kAccessKeys, AccessFrom, access_));
  return LoadAll(kv_, kJoinKeys, JoinFrom, join_);
}

Result<Tokens::Made<AccessToken>> Tokens::Create(const NewAccess& what) {
  TRY_STATUS(CheckName(what.name));
  if (what.scopes.empty()) return InvalidArgument("scopes: a token needs at least one");
  if (what.life && (*what.life <= std::chrono::seconds(0) || *what.life > kMaxJoinLife * 10)) {
    return InvalidArgument("expires_in: must be at least a second and at most ten years");
  }
  const std::string text = std::string(kAccessPrefix) + RandomSecret();
  const std::string hash = HashOf(text);
  AccessToken token{.id = hash.substr(0, kIdDigits),
                    .name = what.name,
                    .scopes = what.scopes,
                    .created = clock_.WallNow(),
                    .expires = {},
                    .last_used = {}};
  if (what.life) token.expires = token.created + *what.life;
  MutexLock lock(mutex_);
  if (access_.size() >= kMaxTokens) return ResourceExhausted("too many tokens (revoke some)");
  TRY_STATUS(Save(kv_, kAccessKeys, hash, token));
  access_[hash] = token;
  return Made<AccessToken>{token, Secret(text)};
}

Status Tokens::SetAdmin(const std::string& name, const Secret<std::string>& text) {
  const std::string& secret = text.Reveal();
  if (!secret.starts_with(kAccessPrefix) || secret.size() < kMinOwnTokenBytes ||
      secret.size() > kMaxTokenBytes) {
    return InvalidArgument("an admin token is \"hpat_\" and at least 32 characters");
  }
  const std::string hash = HashOf(secret);
  MutexLock lock(mutex_);
  kv::Batch batch;
  const auto is_older = [&](const auto& entry) {
    return entry.second.name == name && entry.first != hash;
  };
  for (const auto& entry : access_) {
    if (is_older(entry)) batch.Delete(kv::Family::kMeta, kAccessKeys + entry.first);
  }
  AccessToken token{.id = hash.substr(0, kIdDigits),
                    .name = name,
                    .scopes = {Scope::kAdmin},
                    .created = clock_.WallNow(),
                    .expires = {},
                    .last_used = {}};
  if (const auto known = access_.find(hash); known != access_.end()) {
    token.created = known->second.created;
    token.last_used = known->second.last_used;
  }
  batch.Put(kv::Family::kMeta, kAccessKeys + hash, ToJson(token).dump());
  TRY_STATUS(kv_.Write(batch, kv::Sync::kYes));
  std::erase_if(access_, is_older);
  access_[hash] = token;
  return OkStatus();
}

Result<AccessToken> Tokens::Check(std::string_view text) {
  const auto refused = [] { return Unauthenticated("the token is not valid (any more)"); };
  if (!text.starts_with(kAccessPrefix) || text.size() > kMaxTokenBytes) return refused();
  const WallTime now = clock_.WallNow();
  MutexLock lock(mutex_);
  const auto found = access_.find(HashOf(text));
  if (found == access_.end()) return refused();
  AccessToken& token = found->second;
  if (token.expires && now >= *token.expires) return refused();
  if (!token.last_used || now >= *token.last_used + kLastUseStep || now < *token.last_used) {
    token.last_used = now;
    // Lost with a power cut at worst; a full disk must not lock anybody out.
    (void)Save(kv_, kAccessKeys, found->first, token, kv::Sync::kNo);
  }
  return token;
}

bool Tokens::StillValid(const AccessToken& token) const {
  const WallTime now = clock_.WallNow();
  MutexLock lock(mutex_);
  const auto found = access_.lower_bound(token.id);  // which begins its key
  return found != access_.end() && found->second.id == token.id &&
         (!found->second.expires || now < *found->second.expires);
}

std::vector<AccessToken> Tokens::List() const {
  MutexLock lock(mutex_);
  return Values(access_);
}

Status Tokens::Revoke(std::string_view id) {
  MutexLock lock(mutex_);
  return Remove(kv_, kAccessKeys, access_, id);
}

Result<Tokens::Made<JoinToken>> Tokens::CreateJoin(const NewJoin& what) {
  TRY_STATUS(CheckName(what.name));
  if (what.life <= std::chrono::seconds(0) || what.life > kMaxJoinLife) {
    return InvalidArgument("expires_in: must be at least a second and at most a year");
  }
  if (what.uses == 0 || what.uses > kMaxJoinUses) {
    return InvalidArgument("uses: must be 1 to " + std::to_string(kMaxJoinUses));
  }
  const std::string text = RandomSecret();
  const std::string hash = HashOf(text);
  JoinToken token{.id = hash.substr(0, kIdDigits),
                  .name = what.name,
                  .cluster = what.cluster,
                  .created = clock_.WallNow(),
                  .expires = clock_.WallNow() + what.life,
                  .uses_left = what.uses,
                  .used = 0};
  MutexLock lock(mutex_);
  if (join_.size() >= kMaxTokens) return ResourceExhausted("too many join tokens (revoke some)");
  TRY_STATUS(Save(kv_, kJoinKeys, hash, token));
  join_[hash] = token;
  return Made<JoinToken>{token, Secret(text)};
}

Status Tokens::CheckJoinLocked(std::string_view secret, std::string_view cluster) const {
  const auto found = secret.size() > kMaxTokenBytes ? join_.end() : join_.find(HashOf(secret));
  if (found == join_.end() || found->second.uses_left == 0 || found->second.cluster != cluster ||
      clock_.WallNow() >= found->second.expires) {
    return Unauthenticated(
        "the join token is not valid: unknown, expired, used up, or of another "
        "cluster (make one with `hearth tokens create --join`)");
  }
  return OkStatus();
}

Status Tokens::CheckJoin(std::string_view secret, std::string_view cluster) const {
  MutexLock lock(mutex_);
  return CheckJoinLocked(secret, cluster);
}

Status Tokens::UseJoin(std::string_view secret, std::string_view cluster) {
  MutexLock lock(mutex_);
  TRY_STATUS(CheckJoinLocked(secret, cluster));
  const auto found = join_.find(HashOf(secret));
  JoinToken token = found->second;
  --token.uses_left;
  ++token.used;
  TRY_STATUS(Save(kv_, kJoinKeys, found->first, token));
  found->second = token;
  return OkStatus();
}

std::vector<JoinToken> Tokens::ListJoin() const {
  MutexLock lock(mutex_);
  return Values(join_);
}

Status Tokens::RevokeJoin(std::string_view id) {
  MutexLock lock(mutex_);
  return Remove(kv_, kJoinKeys, join_, id);
}

}  // namespace hearth::manager
