#include "cmd/rare_readings.h"

#include <gtest/gtest.h>

namespace hearth::cmd {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

class RareReadingsTest : public testing::Test {
 protected:
  double Ask() {
    std::vector<Reading> out;
    readings_.AddTo(out);
    EXPECT_EQ(out.size(), 1u);
    return out.empty() ? -1 : out[0].value;
  }

  FakeClock clock_;
  milliseconds cost_{0};
  int made_ = 0;
  RareReadings readings_{
      [this](std::vector<Reading>& out) {
        clock_.Advance(cost_);
        out.push_back(
            {.name = "n", .help = "", .labels = {}, .value = static_cast<double>(++made_)});
      },
      clock_};
};

TEST_F(RareReadingsTest, CheapOnesAreMadeEachTime) {
  EXPECT_EQ(Ask(), 1);
  EXPECT_EQ(Ask(), 2);
}

// A store of 200,000 blobs: a scrape each second costs no more than one each 25 seconds.
TEST_F(RareReadingsTest, DearOnesAreKeptSoThatScrapesCostNothing) {
  cost_ = milliseconds(500);
  EXPECT_EQ(Ask(), 1);
  for (int i = 0; i < 24; ++i) {
    clock_.Advance(seconds(1));
    EXPECT_EQ(Ask(), 1);
  }
  clock_.Advance(seconds(1));
  EXPECT_EQ(Ask(), 2);
}

TEST_F(RareReadingsTest, KeptOnesAreKeptForFifteenSecondsAtLeast) {
  cost_ = milliseconds(10);
  EXPECT_EQ(Ask(), 1);
  clock_.Advance(milliseconds(14'999));
  EXPECT_EQ(Ask(), 1);
  clock_.Advance(milliseconds(1));
  EXPECT_EQ(Ask(), 2);
}

}  // namespace
}  // namespace hearth::cmd
