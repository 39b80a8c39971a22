#include "p2p/news_log.h"

#include <gtest/gtest.h>

#include <set>

namespace hearth::p2p {
namespace {

class NewsLogTest : public testing::Test {
 protected:
  void Add(uint32_t piece) { log_.Add(PieceIndex{piece}, now_); }
  bool IsDue(NewsLog::Place told, const std::set<uint32_t>& has) const {
    return log_.IsDue(told,
                      [&](PieceIndex piece) { return has.contains(static_cast<uint32_t>(piece)); });
  }

  NewsLog log_;
  SteadyTime now_{std::chrono::seconds(1000)};
};

TEST_F(NewsLogTest, NeighbourIsToldOnceItLacksOneOfThePieces) {
  EXPECT_FALSE(IsDue(0, {}));
  Add(7);
  EXPECT_TRUE(IsDue(0, {}));
  EXPECT_FALSE(IsDue(0, {7}));
  Add(8);
  EXPECT_TRUE(IsDue(0, {7}));
  EXPECT_EQ(log_.Since(0).size(), 2U) << "with all that waited";
  EXPECT_FALSE(IsDue(log_.end(), {}));
  EXPECT_FALSE(IsDue(1, {8}));
}

TEST_F(NewsLogTest, WhatIsNewToNobodyWaitsNotForEver) {
  std::set<uint32_t> has;
  for (uint32_t piece = 0; piece < NewsLog::kMostHeld; ++piece) {
    EXPECT_FALSE(IsDue(0, has)) << piece;
    Add(piece);
    has.insert(piece);
  }
  EXPECT_TRUE(IsDue(0, has));
}

TEST_F(NewsLogTest, IsPlannedOnceUntilItBegins) {
  EXPECT_FALSE(log_.Begin());
  EXPECT_TRUE(log_.Plan());
  EXPECT_FALSE(log_.Plan());
  EXPECT_TRUE(log_.Begin());
  EXPECT_FALSE(log_.Begin());
  EXPECT_TRUE(log_.Plan());
  log_.Clear();
  EXPECT_FALSE(log_.Begin()) << "nothing is left to tell";
}

}  // namespace
}  // namespace hearth::p2p
