#include "cmd/clock_review.h"

#include <gtest/gtest.h>

namespace hearth::cmd {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr WallTime kDate{seconds(784887151)};  // Tue, 15 Nov 1994 08:12:31 GMT

TEST(ClockReviewTest, ReadsAnHttpDate) {
  EXPECT_EQ(ParseHttpDate("Tue, 15 Nov 1994 08:12:31 GMT"), kDate);
  for (const char* text :
       {"", "now", "Tue, 15 Nov 1994 08:12:31", "Tue, 15 Nov 1994 08:12:31 GMT+1",
        "1994-11-15T08:12:31Z", "Tue, 15 Foo 1994 08:12:31 GMT"}) {
    EXPECT_EQ(ParseHttpDate(text), std::nullopt) << text;
  }
}

// The state and what was found, with an answer that took 100 ms and came `off` from the Date.
std::string Skewed(std::chrono::nanoseconds off) {
  Findings findings;
  ReviewSkew("r", kDate, kDate + off, kDate + off + milliseconds(100), findings);
  const Finding& one = findings.list().at(0);
  const char* states[] = {"ok ", "warn ", "fail "};
  return states[static_cast<int>(one.state)] + one.detail;
}

TEST(ClockReviewTest, ADateIsTrueToASecondAndToTheTimeOfTheAnswer) {
  EXPECT_EQ(Skewed(seconds(0)), "ok the same to the second");
  EXPECT_EQ(Skewed(milliseconds(999)), "ok the same to the second");
  EXPECT_EQ(Skewed(milliseconds(-100)), "ok the same to the second");
  EXPECT_EQ(Skewed(seconds(21)), "ok 20.0s ahead of it");
}

TEST(ClockReviewTest, SkewBreaksTokensInTheEnd) {
  EXPECT_EQ(Skewed(seconds(41)), "warn 40.0s ahead of it");
  EXPECT_EQ(Skewed(-seconds(41)), "warn 40.0s behind it");
  EXPECT_EQ(Skewed(seconds(3601)), "fail 60m00s ahead of it");
  EXPECT_EQ(Skewed(-seconds(301) - milliseconds(100)), "fail 5m01s behind it");
}

}  // namespace
}  // namespace hearth::cmd
