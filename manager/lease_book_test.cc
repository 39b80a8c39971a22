#include "manager/lease_book.h"

#include <gtest/gtest.h>

#include <deque>
#include <numeric>

namespace hearth::manager {
namespace {

constexpr uint64_t kPieceBytes = 256 * 1024;

class LeaseBookTest : public testing::Test {
 protected:
  void Fetch(const LeaseBook::Change& lease, uint32_t from, uint32_t count) {
    for (uint32_t i = from; i < from + count; ++i) {
      EXPECT_TRUE(book_.Fetched(lease.holder, PieceIndex{lease.run.begin() + i}, now_));
    }
  }

  LeaseBook book_{{.pieces = 256, .piece_size_bytes = kPieceBytes}};
  SteadyTime now_{std::chrono::seconds(1000)};
};

TEST_F(LeaseBookTest, LeasesGetShorterTowardsTheEndSoThatAllHoldersEndTogether) {
  for (uint32_t node = 0; node < 4; ++node) book_.SetAccepts(NodeId{node}, true);
  std::deque<LeaseBook::Change> held;
  std::vector<uint32_t> lengths;
  const auto take = [&] {
    for (const auto& change : book_.Take(now_)) {
      held.push_back(change);
      lengths.push_back(change.run.count);
    }
  };
  take();
  EXPECT_EQ(lengths, std::vector<uint32_t>(4, 4)) << "1 MiB while nodes are still joining";
  for (now_ += LeaseBook::kYoung; !held.empty(); take()) {
    Fetch(held.front(), 0, held.front().run.count);
    held.pop_front();
  }
  ASSERT_GT(lengths.size(), 8u);
  EXPECT_EQ(lengths[4], 240u / 9) << "two for each node of what is left";
  EXPECT_EQ(*(lengths.end() - 2), 4u) << "1 MiB again";
  EXPECT_EQ(std::reduce(lengths.begin(), lengths.end()), 256u);
}

TEST_F(LeaseBookTest, NextLeaseComesBeforeTheOneBeforeHasEnded) {
  book_.SetAccepts(NodeId{1}, true);
  ASSERT_EQ(book_.Take(now_).size(), 1u);
  now_ += LeaseBook::kYoung;
  const LeaseBook::Change first{NodeId{1}, {PieceIndex{0}, 4}, true};
  Fetch(first, 0, 1);
  EXPECT_TRUE(book_.Take(now_).empty()) << "three pieces are left";
  Fetch(first, 1, 1);
  const auto next = book_.Take(now_);
  ASSERT_EQ(next.size(), 1u) << "512 KiB are left";
  EXPECT_EQ(next[0].run, (PieceRun{PieceIndex{4}, 32})) << "8 MiB";
  Fetch(first, 2, 2);
  EXPECT_TRUE(book_.Take(now_).empty()) << "and then there is enough to do";
}

// It fetches both at once, each at half the speed.
TEST_F(LeaseBookTest, HolderOfTwoLeasesHasTheTimeOfBoth) {
  book_.SetAccepts(NodeId{1}, true);
  ASSERT_EQ(book_.Take(now_).size(), 1u);
  Fetch({NodeId{1}, {PieceIndex{0}, 4}, true}, 0, 3);
  ASSERT_EQ(book_.Take(now_).size(), 1u);
  now_ += std::chrono::seconds(15);
  book_.Tick(now_);
  EXPECT_EQ(book_.leases().size(), 2u);
  Fetch({NodeId{1}, {PieceIndex{3}, 1}, true}, 0, 1);
  now_ += std::chrono::seconds(15);
  book_.Tick(now_);
  EXPECT_TRUE(book_.leases().empty()) << "of one lease that is long";
}

TEST_F(LeaseBookTest, HolderThatGoesGivesBackBothOfItsLeases) {
  book_.SetAccepts(NodeId{1}, true);
  ASSERT_EQ(book_.Take(now_).size(), 1u);
  Fetch({NodeId{1}, {PieceIndex{0}, 4}, true}, 0, 3);
  ASSERT_EQ(book_.Take(now_).size(), 1u);
  book_.Leave(NodeId{1});
  EXPECT_TRUE(book_.leases().empty());
  book_.SetAccepts(NodeId{2}, true);
  EXPECT_EQ(book_.Take(now_).at(0).run, (PieceRun{PieceIndex{3}, 4}));
}

TEST_F(LeaseBookTest, PieceThatItsFetcherCannotTellOfAnyMoreIsLeasedOnceSomebodyMissesIt) {
  for (uint32_t node = 1; node <= 2; ++node) book_.SetAccepts(NodeId{node}, true);
  const auto leases = book_.Take(now_);
  ASSERT_EQ(leases.size(), 2u);
  Fetch(leases[0], 0, 4);
  book_.SetAccepts(NodeId{1}, false);  // no more of the others
  book_.SetAccepts(NodeId{2}, false);
  (void)book_.Take(now_);
  book_.SetAccepts(NodeId{3}, true);
  now_ += LeaseBook::kYoung;
  for (bool all = false; !all;) {
    const auto given = book_.Take(now_);
    for (const auto& lease : given) Fetch(lease, 0, lease.run.count);
    all = given.empty();
  }
  ASSERT_EQ(book_.fetched(), 256u);

  // A restart: the pieces are in the store, what they hash to is forgotten.
  PieceBitmap present(256);
  for (uint32_t piece = 0; piece < 4; ++piece) present.Set(PieceIndex{piece});
  book_.Present(NodeId{1}, present, present);
  EXPECT_TRUE(book_.Take(now_).empty()) << "nobody misses them";
  book_.Missing(NodeId{2}, PieceIndex{1}, /*fetcher_here=*/true, now_);
  const auto again = book_.Take(now_);
  ASSERT_EQ(again.size(), 1u);
  EXPECT_EQ(again[0].run, (PieceRun{PieceIndex{1}, 1}));
  Fetch(again[0], 0, 1);
  book_.Missing(NodeId{2}, PieceIndex{1}, /*fetcher_here=*/true, now_);
  EXPECT_TRUE(book_.Take(now_).empty()) << "its fetcher can tell of it";

  book_.Present(NodeId{2}, present);
  book_.Missing(NodeId{1}, PieceIndex{2}, /*fetcher_here=*/true, now_);
  EXPECT_TRUE(book_.Take(now_).empty()) << "so can another that has it";
}

}  // namespace
}  // namespace hearth::manager
