// Tokens: who may use the API (personal access tokens) and which machines may become nodes (join
// tokens).
//
// A token's text is shown once, when it is made; kept are its sha256 and what it may do. Everything
// is in memory and in the store. Any thread.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/log.h"
#include "base/status.h"
#include "base/thread.h"
#include "kv/kv.h"

namespace hearth::manager {

// What a route needs, and what a token has. Writing includes reading; admin includes everything.
enum class Scope : uint8_t {
  kPublic,  // of routes only: no token is asked for
  kJobRead,
  kJob,
  kClusterRead,
  kCluster,
  kNodeRead,
  kNode,
  kAdminRead,  // reads everything
  kAdmin,
};
std::string_view ScopeName(Scope scope);  // "job:read"
Result<Scope> ParseScope(std::string_view name);
bool Grants(Scope held, Scope needed);

struct AccessToken {
  std::string id;  // the first digits of its hash; not a secret
  std::string name;
  std::vector<Scope> scopes;
  WallTime created{};
  std::optional<WallTime> expires;
  std::optional<WallTime> last_used;  // to the minute
};

struct JoinToken {
  std::string id;
  std::string name;
  std::string cluster;
  WallTime created{};
  WallTime expires{};
  uint32_t uses_left = 0;
  uint32_t used = 0;
};

class Tokens {
 public:
  static constexpr size_t kMaxTokens = 10'000;  // of each kind
  static constexpr std::chrono::hours kMaxJoinLife{24 * 365};
  static constexpr uint32_t kMaxJoinUses = 100'000;

  // `kv` must outlive it.
  static Result<std::unique_ptr<Tokens>> Open(kv::Kv& kv, const Clock& clock);

  struct NewAccess {
    std::string name;
    std::vector<Scope> scopes;  // at least one
    std::optional<std::chrono::seconds> life;
  };
  template <typename T>
  struct Made {
    T token;
    Secret<std::string> text;
  };
  // kInvalidArgument: no name, no scope; kResourceExhausted: kMaxTokens.
  Result<Made<AccessToken>> Create(const NewAccess& what) EXCLUDES(mutex_);
  // Makes `text` (an operator's own, "hpat_" and at least 32 characters) the admin token of that
  // name, in place of an older one.
  Status SetAdmin(const std::string& name, const Secret<std::string>& text) EXCLUDES(mutex_);
  // What the bearer of `text` may do. kUnauthenticated: unknown, expired or revoked; which of them
  // is not said.
  Result<AccessToken> Check(std::string_view text) EXCLUDES(mutex_);
  // Neither expired nor revoked since it was checked.
  bool StillValid(const AccessToken& token) const EXCLUDES(mutex_);
  std::vector<AccessToken> List() const EXCLUDES(mutex_);
  // By ID. kNotFound.
  Status Revoke(std::string_view id) EXCLUDES(mutex_);

  struct NewJoin {
    std::string name;
    std::string cluster;
    std::chrono::seconds life{};
    uint32_t uses = 1;
  };
  // The text is the SECRET of hjt_SECRET.SHA256_OF_THE_CA.
  Result<Made<JoinToken>> CreateJoin(const NewJoin& what) EXCLUDES(mutex_);
  // kUnauthenticated: unknown, expired, used up, or of another cluster; which is not said.
  Status CheckJoin(std::string_view secret, std::string_view cluster) const EXCLUDES(mutex_);
  // CheckJoin(), and counts one use for good.
  Status UseJoin(std::string_view secret, std::string_view cluster) EXCLUDES(mutex_);
  std::vector<JoinToken> ListJoin() const EXCLUDES(mutex_);
  Status RevokeJoin(std::string_view id) EXCLUDES(mutex_);

 private:
  Tokens(kv::Kv& kv, const Clock& clock) : kv_(kv), clock_(clock) {}
  Status Load() EXCLUDES(mutex_);
  Status CheckJoinLocked(std::string_view secret, std::string_view cluster) const REQUIRES(mutex_);

  kv::Kv& kv_;
  const Clock& clock_;
  mutable Mutex mutex_;
  // By the sha256 of the token's text, in hex.
  std::map<std::string, AccessToken, std::less<>> access_ GUARDED_BY(mutex_);
  std::map<std::string, JoinToken, std::less<>> join_ GUARDED_BY(mutex_);
};

}  // namespace hearth::manager
