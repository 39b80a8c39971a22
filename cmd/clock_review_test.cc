#include "cmd/clock_review.h"

#include <gtest/gtest.h>

namespace hearth::cmd {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr int64_t kDateSeconds = 784'887'151;
constexpr WallTime kDate{seconds(kDateSeconds)};

// The state and what was found, with an answer that took 100 ms and came `off` from the Date.
std::string Skewed(std::chrono::nanoseconds off) {
  Findings findings;
  ReviewSkew("r", kDateSeconds, kDate + off, kDate + off + milliseconds(100), findings);
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

TEST(ClockReviewTest, ADateOfAYearThatNoClockReachesIsOnlyFarOff) {
  for (const int64_t date : {int64_t{-62'000'000'000}, int64_t{253'402'300'799}}) {
    Findings findings;
    ReviewSkew("r", date, kDate, kDate, findings);
    EXPECT_EQ(findings.list().at(0).state, Finding::State::kFail) << date;
  }
}

}  // namespace
}  // namespace hearth::cmd
