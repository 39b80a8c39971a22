#include "p2p/news_pace.h"

#include <gtest/gtest.h>

namespace hearth::p2p {
namespace {

using std::chrono::milliseconds;

TEST(NewsPaceTest, GathersForTheTimeOfAPieceWithinItsLimits) {
  using Case = std::pair<milliseconds, std::chrono::microseconds>;
  for (const auto& [gap, gather] :
       {Case{milliseconds(1), NewsPace::kLeast}, Case{milliseconds(10), milliseconds(10)},
        Case{milliseconds(500), NewsPace::kMost}}) {
    NewsPace pace;
    SteadyTime now{std::chrono::seconds(1000)};
    EXPECT_EQ(pace.Gather(), NewsPace::kLeast) << "the first hops are what a swarm waits for";
    for (int i = 0; i < 100; ++i) pace.OnPiece(now += gap);
    EXPECT_NEAR(static_cast<double>(pace.Gather().count()),
                static_cast<double>(std::chrono::nanoseconds(gather).count()), 1e5);
  }
}

}  // namespace
}  // namespace hearth::p2p
