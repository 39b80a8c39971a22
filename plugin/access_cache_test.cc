#include "plugin/access_cache.h"

#include <gtest/gtest.h>

namespace hearth::plugin {
namespace {

oci::Access AccessOf(const std::string& repository, const std::string& authorization) {
  return {.registry = "h.io", .repository = repository, .authorization = Secret(authorization)};
}

TEST(AccessCache, GrantIsForOneCredentialAndRepository) {
  AccessCache cache({});
  cache.Grant(AccessOf("a", "Bearer 1"));
  EXPECT_TRUE(cache.Allows(AccessOf("a", "Bearer 1")));
  EXPECT_FALSE(cache.Allows(AccessOf("a", "Bearer 2")));
  EXPECT_FALSE(cache.Allows(AccessOf("a", "")));
  EXPECT_FALSE(cache.Allows(AccessOf("b", "Bearer 1")));
  cache.Revoke(AccessOf("a", "Bearer 1"));
  EXPECT_FALSE(cache.Allows(AccessOf("a", "Bearer 1")));
}

TEST(AccessCache, GrantEndsAfterItsTtlAndServesADayWhileTheRegistryIsDown) {
  FakeClock clock;
  AccessCache cache({.ttl = std::chrono::minutes(5), .clock = clock});
  cache.Grant(AccessOf("a", ""));
  clock.Advance(std::chrono::minutes(5) - std::chrono::seconds(1));
  EXPECT_TRUE(cache.Allows(AccessOf("a", "")));
  clock.Advance(std::chrono::seconds(1));
  EXPECT_FALSE(cache.Allows(AccessOf("a", "")));
  EXPECT_TRUE(cache.AllowsOffline(AccessOf("a", "")));
  clock.Advance(std::chrono::hours(24));
  EXPECT_FALSE(cache.AllowsOffline(AccessOf("a", "")));
}

TEST(AccessCache, BasicChallengeIsRememberedForADay) {
  FakeClock clock;
  AccessCache cache({.max_entries = 2, .clock = clock});
  cache.Revoke(AccessOf("a", ""), "Basic x");
  EXPECT_EQ(cache.ChallengeOffline(AccessOf("a", "")), "Basic x");
  EXPECT_EQ(cache.ChallengeOffline(AccessOf("a", "Basic 1")), "");
  EXPECT_EQ(cache.ChallengeOffline(AccessOf("b", "")), "");
  cache.Revoke(AccessOf("b", ""), std::string(2000, 'x'));
  EXPECT_EQ(cache.ChallengeOffline(AccessOf("b", "")), "");
  clock.Advance(std::chrono::hours(24));
  EXPECT_EQ(cache.ChallengeOffline(AccessOf("a", "")), "");
  for (const char* repository : {"a", "b", "c"}) {
    cache.Revoke(AccessOf(repository, ""), "Basic x");
    clock.Advance(std::chrono::seconds(1));
  }
  EXPECT_EQ(cache.ChallengeOffline(AccessOf("a", "")), "");
  EXPECT_EQ(cache.ChallengeOffline(AccessOf("c", "")), "Basic x");
  cache.Grant(AccessOf("c", ""));
  EXPECT_EQ(cache.ChallengeOffline(AccessOf("c", "")), "");
}

TEST(AccessCache, FullCacheForgetsTheOldest) {
  FakeClock clock;
  AccessCache cache({.max_entries = 2, .clock = clock});
  for (const char* repository : {"a", "b", "c"}) {
    cache.Grant(AccessOf(repository, ""));
    clock.Advance(std::chrono::seconds(1));
  }
  EXPECT_FALSE(cache.Allows(AccessOf("a", "")));
  EXPECT_TRUE(cache.Allows(AccessOf("b", "")));
  EXPECT_TRUE(cache.Allows(AccessOf("c", "")));
}

}  // namespace
}  // namespace hearth::plugin
