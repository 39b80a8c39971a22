#include "base/lru_map.h"

#include <gtest/gtest.h>

#include <string>

namespace hearth {
namespace {

TEST(LruMap, WhatWasNotAskedForLongestGoes) {
  LruMap<std::string, int> map(2);
  map.Put("a", 1);
  map.Put("b", 2);
  ASSERT_NE(map.Find("a"), nullptr);
  map.Put("c", 3);
  EXPECT_EQ(map.Find("b"), nullptr);
  EXPECT_EQ(*map.Find("a"), 1);
  EXPECT_EQ(*map.Find("c"), 3);
}

TEST(LruMap, PeekIsNoUse) {
  LruMap<std::string, int> map(2);
  map.Put("a", 1);
  map.Put("b", 2);
  ASSERT_NE(map.Peek("a"), nullptr);
  map.Put("c", 3);
  EXPECT_EQ(map.Peek("a"), nullptr);
}

TEST(LruMap, PutReplacesAndEraseForgets) {
  LruMap<std::string, int> map(2);
  map.Put("a", 1);
  map.Put("b", 2);
  map.Put("a", 3);
  map.Put("c", 4);
  EXPECT_EQ(*map.Find("a"), 3);
  EXPECT_EQ(map.Find("b"), nullptr);
  map.Erase("a");
  map.Erase("unknown");
  EXPECT_EQ(map.Find("a"), nullptr);
}

}  // namespace
}  // namespace hearth
