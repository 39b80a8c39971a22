#include "plugin/tag_cache.h"

#include <gtest/gtest.h>

namespace hearth::plugin {
namespace {

oci::Access AccessOf(const std::string& repository, const std::string& authorization = "") {
  return {.registry = "h.io", .repository = repository, .authorization = Secret(authorization)};
}

TEST(TagCache, LastWordOfTheRegistryCountsWhoeverAsked) {
  TagCache tags;
  EXPECT_EQ(tags.Find(AccessOf("a"), "v1"), std::nullopt);
  tags.Note(AccessOf("a"), "v1", Digest::Of("old"));
  tags.Note(AccessOf("a", "Bearer 1"), "v1", Digest::Of("new"));
  EXPECT_EQ(tags.Find(AccessOf("a"), "v1"), Digest::Of("new"));
  EXPECT_EQ(tags.Find(AccessOf("a"), "v2"), std::nullopt);
  EXPECT_EQ(tags.Find(AccessOf("b"), "v1"), std::nullopt);
  tags.Forget(AccessOf("a"), "v2");
  tags.Forget(AccessOf("a"), "v1");
  EXPECT_EQ(tags.Find(AccessOf("a"), "v1"), std::nullopt);
}

TEST(TagCache, FullCacheForgetsWhatWasNotAskedForLongest) {
  TagCache tags(2);
  tags.Note(AccessOf("a"), "1", Digest::Of("1"));
  tags.Note(AccessOf("a"), "2", Digest::Of("2"));
  EXPECT_TRUE(tags.Find(AccessOf("a"), "1"));
  tags.Note(AccessOf("a"), "3", Digest::Of("3"));
  EXPECT_TRUE(tags.Find(AccessOf("a"), "1"));
  EXPECT_FALSE(tags.Find(AccessOf("a"), "2"));
  EXPECT_TRUE(tags.Find(AccessOf("a"), "3"));
}

}  // namespace
}  // namespace hearth::plugin
