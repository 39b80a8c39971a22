#include "p2p/limiter.h"

#include <gtest/gtest.h>

namespace hearth::p2p {
namespace {

using std::chrono::milliseconds;
using Traffic = Limiter::Traffic;

constexpr SteadyTime kNow{std::chrono::seconds(1'000)};

TEST(LimiterTest, NoRateMeansNoWait) {
  Limiter limiter({});
  for (const Traffic traffic : {Traffic::kUpload, Traffic::kPeer, Traffic::kOrigin}) {
    EXPECT_EQ(limiter.Charge(traffic, 1ull << 40, kNow), kNow);
  }
}

TEST(LimiterTest, RateHoldsOverTimeWhateverTheChunks) {
  for (const uint64_t chunk : {1'000, 30'000, 400'000}) {
    Limiter limiter({.upload = 1'000'000});
    SteadyTime now = kNow;
    uint64_t moved = 0;
    for (; moved < 5'000'000; moved += chunk) now = limiter.Charge(Traffic::kUpload, chunk, now);
    const double seconds = std::chrono::duration<double>(now - kNow).count();
    EXPECT_NEAR(static_cast<double>(moved) / seconds, 1e6, 3e4) << chunk;
  }
}

TEST(LimiterTest, AnIdleBucketSavesOnlyATenthOfASecond) {
  Limiter limiter({.upload = 1'000'000});
  (void)limiter.Charge(Traffic::kUpload, 1, kNow);
  const SteadyTime later = kNow + std::chrono::hours(1);
  EXPECT_EQ(limiter.Charge(Traffic::kUpload, 100'000, later), later);
  EXPECT_EQ(limiter.Charge(Traffic::kUpload, 1'000'000, later), later + milliseconds(1'000));
}

TEST(LimiterTest, OriginBytesCountAsDownloadTooAndWaitForTheSlowestBucket) {
  Limiter limiter({.download = 1'000'000, .origin = 500'000});
  EXPECT_EQ(limiter.Charge(Traffic::kOrigin, 600'000, kNow), kNow + milliseconds(1'100));
  EXPECT_EQ(limiter.Charge(Traffic::kPeer, 600'000, kNow), kNow + milliseconds(1'100));
  EXPECT_EQ(limiter.Charge(Traffic::kUpload, 600'000, kNow), kNow);
  limiter.SetOriginShare(100'000);
  EXPECT_GT(limiter.Charge(Traffic::kOrigin, 1'000'000, kNow), kNow + milliseconds(9'000));
}

}  // namespace
}  // namespace hearth::p2p
