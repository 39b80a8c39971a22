#include "manager/text_pool.h"

#include <gtest/gtest.h>

namespace hearth::manager {
namespace {

TEST(TextPoolTest, KeepsOneCopyOfEachText) {
  TextPool pool(1 << 20);
  const std::string text(1'000, 'x');
  const auto first = pool.Share(text);
  const size_t bytes = pool.bytes();
  const auto second = pool.Share(text);
  ASSERT_TRUE(first && second);
  EXPECT_EQ(&first->str(), &second->str());
  EXPECT_EQ(pool.bytes(), bytes);
  EXPECT_EQ(pool.Share(SharedText())->str(), "");
}

TEST(TextPoolTest, TakesNoMoreThanItsLimitAndForgetsWhatNobodyHolds) {
  TextPool pool(10'000);
  const auto text = [](int i) { return std::to_string(i) + std::string(1'000, 'x'); };
  std::vector<SharedText> held;
  int i = 0;
  while (const auto shared = pool.Share(text(i++))) held.push_back(*shared);
  EXPECT_GE(held.size(), 8u);
  EXPECT_LE(pool.bytes(), 10'000u);
  EXPECT_TRUE(pool.Share(text(0)));  // which it has
  pool.Sweep();
  EXPECT_FALSE(pool.Share(text(100)));
  held.resize(1);
  pool.Sweep();
  EXPECT_TRUE(pool.Share(text(100)));
  EXPECT_EQ(&pool.Share(text(0))->str(), &held[0].str());
}

}  // namespace
}  // namespace hearth::manager
