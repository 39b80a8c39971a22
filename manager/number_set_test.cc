#include "manager/number_set.h"

#include <gtest/gtest.h>

#include <random>
#include <set>

namespace hearth::manager {
namespace {

std::vector<uint32_t> ListOf(const std::set<uint32_t>& set) { return {set.begin(), set.end()}; }

// Dense, sparse, and one that turns from the one into the other and back.
TEST(NumberSet, IsASetWhateverItIsMadeOf) {
  std::minstd_rand random(7);
  for (const uint32_t range : {50u, 5'000u, 1'000'000u}) {
    NumberSet numbers;
    std::set<uint32_t> want;
    for (int step = 0; step < 4'000; ++step) {
      const uint32_t number =
          static_cast<uint32_t>(random()) % (step % 500 == 0 ? 2'000'000 : range);
      if (step / 1'000 % 2 == 0) {
        EXPECT_EQ(numbers.Insert(number), want.insert(number).second);
      } else {
        EXPECT_EQ(numbers.Erase(number), want.erase(number) == 1);
      }
      ASSERT_EQ(numbers.size(), want.size());
      ASSERT_EQ(numbers.Contains(number), want.contains(number));
    }
    EXPECT_EQ(numbers.List(), ListOf(want)) << range;
    for (const uint32_t number : ListOf(want)) EXPECT_TRUE(numbers.Erase(number));
    EXPECT_TRUE(numbers.empty());
    EXPECT_EQ(numbers.List(), std::vector<uint32_t>{});
  }
}

TEST(NumberList, GivesBackWhatItWasMadeOf) {
  EXPECT_EQ(NumberList().List(), std::vector<uint32_t>{});
  const std::vector<uint32_t> numbers = {0, 1, 127, 254, 255, 16'639, 2'113'791, UINT32_MAX};
  EXPECT_EQ(NumberList(numbers).List(), numbers);
  EXPECT_EQ(NumberList(numbers).size(), numbers.size());
}

}  // namespace
}  // namespace hearth::manager
