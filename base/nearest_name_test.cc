#include "base/nearest_name.h"

#include <gtest/gtest.h>

namespace hearth {
namespace {

TEST(NearestNameTest, FindsNearNamesOnly) {
  EXPECT_EQ(NearestName("lisen", {"auth_cache", "listen"}), "listen");
  EXPECT_EQ(NearestName("zz", {"aa"}), "");
  EXPECT_EQ(NearestName("ab", {"xy", "ax"}), "ax");
}

TEST(NearestNameTest, LongWordsHaveNone) {
  const std::string name(64, 'x');
  EXPECT_EQ(NearestName(name, {name + "y"}), name + "y");
  EXPECT_EQ(NearestName(name + "x", {name}), "");
}

}  // namespace
}  // namespace hearth
