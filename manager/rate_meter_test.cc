#include "manager/rate_meter.h"

#include <gtest/gtest.h>

namespace hearth::manager {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr WallTime kStart{seconds(1'700'000'000)};

TEST(RateMeterTest, IsThatOfTheLastTenSeconds) {
  RateMeter meter;
  EXPECT_EQ(meter.Rate(kStart), 0u);
  meter.Add(1'000, kStart);
  EXPECT_EQ(meter.Rate(kStart), 1'000u);  // it has run for no longer
  EXPECT_EQ(meter.Rate(kStart + seconds(1)), 500u);
  for (int second = 1; second <= 100; ++second) {
    for (const int part : {0, 500}) meter.Add(1'000, kStart + seconds(second) + milliseconds(part));
  }
  EXPECT_EQ(meter.Rate(kStart + seconds(100)), 2'000u);
  EXPECT_EQ(meter.Rate(kStart + seconds(105)), 1'000u);
  EXPECT_EQ(meter.Rate(kStart + seconds(110)), 0u);
  EXPECT_EQ(meter.Rate(kStart + seconds(1'000)), 0u);
  meter.Add(3'000, kStart + seconds(1'000));
  EXPECT_EQ(meter.Rate(kStart + seconds(1'000)), 3'000u);
}

TEST(RateMeterTest, BearsAClockThatIsSetBack) {
  RateMeter meter;
  meter.Add(1'000, kStart);
  meter.Add(1'000, kStart - seconds(5));
  EXPECT_LE(meter.Rate(kStart - seconds(5)), 2'000u);
  meter.Add(4'000, kStart - seconds(3'600));
  EXPECT_EQ(meter.Rate(kStart - seconds(3'600)), 4'000u);
}

}  // namespace
}  // namespace hearth::manager
