#include "manager/tracker.h"

#include <gtest/gtest.h>

namespace hearth::manager {
namespace {

using Kind = TrackerAction::Kind;

constexpr uint64_t kSize = 64 << 20;  // 256 pieces of 256 KiB: 8 leases of 32

class TrackerTest : public testing::Test {
 protected:
  Status Enter(uint32_t node, Labels labels = {}, bool accepts = true) {
    return tracker_.Enter(
        {NodeId{node}, std::move(labels), blob_, kSize, PieceBitmap(256), accepts}, now_);
  }
  std::vector<TrackerAction> Of(Kind kind) {
    std::vector<TrackerAction> found;
    for (TrackerAction& action : tracker_.Take()) {
      if (action.kind == kind) found.push_back(std::move(action));
    }
    return found;
  }
  void Fetch(const TrackerAction& lease, uint32_t count) {
    for (uint32_t i = 0; i < count; ++i) {
      tracker_.PieceFetched(lease.to, blob_, PieceIndex{lease.run.begin() + i}, now_);
    }
  }

  Tracker tracker_{{.seed = 7, .min_lease_bytes = 8 << 20}};
  const Digest blob_ = Digest::Of("blob");
  SteadyTime now_{std::chrono::seconds(1000)};
};

TEST_F(TrackerTest, EveryPieceIsLeasedOnceWhileItsHoldersLive) {
  for (uint32_t node = 0; node < 5; ++node) ASSERT_TRUE(Enter(node).ok());
  std::vector<int> leased(256);
  auto leases = Of(Kind::kLease);
  for (; !HasFailure() && !leases.empty(); leases = Of(Kind::kLease)) {
    for (const auto& lease : leases) {
      EXPECT_EQ(lease.run.count, 32u) << "8 MiB";
      for (uint32_t piece = lease.run.begin(); piece < lease.run.end(); ++piece)
        EXPECT_EQ(++leased[piece], 1);
    }
    for (const auto& lease : leases) Fetch(lease, lease.run.count);
  }
  EXPECT_EQ(leased, std::vector<int>(256, 1));
}

TEST_F(TrackerTest, AHoldersDeathFreesOnlyWhatItHadNotFetched) {
  ASSERT_TRUE(Enter(1).ok());
  const auto lease = Of(Kind::kLease).at(0);
  Fetch(lease, 10);
  ASSERT_TRUE(Enter(2).ok());
  (void)tracker_.Take();
  now_ += std::chrono::seconds(1);
  tracker_.Leave(NodeId{1}, blob_, now_);
  EXPECT_TRUE(Of(Kind::kLease).empty()) << "2 holds a lease; it takes turns with itself";
  Fetch({Kind::kLease, NodeId{2}, blob_, {}, {PieceIndex{32}, 32}}, 32);
  EXPECT_EQ(Of(Kind::kLease).at(0).run, (PieceRun{PieceIndex{10}, 22}));
}

TEST_F(TrackerTest, WhatANodeFetchedJustBeforeItDiedIsLeasedAgain) {
  ASSERT_TRUE(Enter(1).ok());
  const auto lease = Of(Kind::kLease).at(0);
  Fetch(lease, 10);
  now_ += 2 * LeaseBook::kSpreads;
  Fetch({Kind::kLease, NodeId{1}, blob_, {}, {PieceIndex{10}, 2}}, 2);
  ASSERT_TRUE(Enter(2).ok());
  (void)tracker_.Take();
  tracker_.NodeGone(NodeId{1}, now_);
  Fetch({Kind::kLease, NodeId{2}, blob_, {}, {PieceIndex{32}, 32}}, 32);
  EXPECT_EQ(Of(Kind::kLease).at(0).run, (PieceRun{PieceIndex{10}, 22})) << "10 and 11 once more";
}

TEST_F(TrackerTest, AStalledLeaseGoesToAnother) {
  ASSERT_TRUE(Enter(1).ok());
  ASSERT_EQ(Of(Kind::kLease).at(0).to, NodeId{1});
  now_ += Tracker::kLeaseStall / 2;
  ASSERT_TRUE(Enter(2).ok());
  ASSERT_EQ(Of(Kind::kLease).at(0).to, NodeId{2});
  now_ += Tracker::kLeaseStall / 2 + std::chrono::milliseconds(100);
  ASSERT_TRUE(Enter(3, {}, false).ok());
  tracker_.Tick(now_);
  const auto actions = tracker_.Take();
  ASSERT_GE(actions.size(), 2u);
  EXPECT_EQ(actions[1].kind, Kind::kRevoke);
  EXPECT_EQ(actions[1].to, NodeId{1});
}

TEST_F(TrackerTest, OnlyNodesThatTheOriginAcceptsGetLeases) {
  ASSERT_TRUE(Enter(1, {}, false).ok());
  EXPECT_TRUE(Of(Kind::kLease).empty());
  ASSERT_TRUE(Enter(2).ok());
  EXPECT_EQ(Of(Kind::kLease).at(0).to, NodeId{2});
  tracker_.OriginRefused(NodeId{2}, blob_, now_);
  EXPECT_TRUE(Of(Kind::kLease).empty());
  ASSERT_TRUE(Enter(3).ok());
  EXPECT_EQ(Of(Kind::kLease).at(0).run.begin(), 0u) << "what 2 could not fetch";
}

TEST_F(TrackerTest, AnOriginWithoutRangesHasOneFetcherForAll) {
  for (uint32_t node = 0; node < 3; ++node) ASSERT_TRUE(Enter(node).ok());
  (void)tracker_.Take();
  tracker_.OriginWithoutRanges(blob_, now_);
  const auto leases = Of(Kind::kLease);
  ASSERT_EQ(leases.size(), 1u);
  EXPECT_EQ(leases[0].run, (PieceRun{PieceIndex{0}, 256}));
}

TEST_F(TrackerTest, NeighboursAreNearWithAFewFarOnesAndNobodyHasTooMany) {
  const auto rack = [](uint32_t node) { return Labels{"r", "z", std::to_string(node % 10)}; };
  std::map<uint32_t, size_t> degree;
  std::vector<TrackerAction> last;
  for (uint32_t node = 0; node < 400; ++node) {
    ASSERT_TRUE(Enter(node, rack(node)).ok());
    last = Of(Kind::kNeighbours);
    ASSERT_EQ(last.size(), 1u);
    EXPECT_LE(last[0].neighbours.size(), Tracker::kMaxNeighbours);
    for (const NodeId other : last[0].neighbours) {
      ++degree[node];
      EXPECT_LE(++degree[static_cast<uint32_t>(other)], Tracker::kMaxDegree);
    }
  }
  size_t near = 0;
  for (const NodeId other : last[0].neighbours) near += static_cast<uint32_t>(other) % 10 == 9;
  EXPECT_GE(near, Tracker::kMaxNeighbours - Crowd::kFarNeighbours);
  EXPECT_LT(near, Tracker::kMaxNeighbours) << "a few from elsewhere";
}

TEST_F(TrackerTest, WhoJoinedLastGetsMoreNeighboursAtTheNextTick) {
  std::map<NodeId, std::set<NodeId>> links;
  const auto note = [&] {
    for (const TrackerAction& told : Of(Kind::kNeighbours)) {
      for (const NodeId other : told.neighbours) {
        links[told.to].insert(other);
        links[other].insert(told.to);
      }
    }
  };
  for (uint32_t node = 0; node < 400; ++node) {
    ASSERT_TRUE(Enter(node).ok());
    note();
  }
  EXPECT_EQ(links[NodeId{399}].size(), Tracker::kMaxNeighbours);
  tracker_.Tick(now_);
  note();
  for (const auto& [node, others] : links) {
    EXPECT_GE(others.size(), Crowd::kManyNeighbours) << static_cast<uint32_t>(node);
    EXPECT_LE(others.size(), Tracker::kMaxDegree);
  }
  tracker_.Tick(now_);
  EXPECT_TRUE(Of(Kind::kNeighbours).empty()) << "nobody came";
}

TEST_F(TrackerTest, APieceLostWithItsFetcherIsLeasedAgainOnceSomebodyMissesIt) {
  ASSERT_TRUE(Enter(1).ok());
  Fetch(Of(Kind::kLease).at(0), 5);
  ASSERT_TRUE(Enter(2, {}, false).ok());
  tracker_.PieceMissing(blob_, PieceIndex{3}, now_);
  now_ += 2 * LeaseBook::kSpreads;
  tracker_.Leave(NodeId{1}, blob_, now_);
  ASSERT_TRUE(Enter(3).ok());
  EXPECT_EQ(Of(Kind::kLease).at(0).run.begin(), 5u) << "1 lived when 3 was missed";
  tracker_.PieceMissing(blob_, PieceIndex{3}, now_);
  ASSERT_TRUE(Enter(4).ok());
  EXPECT_EQ(Of(Kind::kLease).at(0).run, (PieceRun{PieceIndex{3}, 1}));
}

TEST_F(TrackerTest, ABannedNodeIsNobodysNeighbourAndHoldsNoLease) {
  ASSERT_TRUE(Enter(1).ok());
  (void)tracker_.Take();
  tracker_.Ban(NodeId{1}, now_);
  EXPECT_EQ(Enter(1).code(), StatusCode::kPermissionDenied);
  ASSERT_TRUE(Enter(2).ok());
  const auto actions = tracker_.Take();
  EXPECT_TRUE(actions.at(0).neighbours.empty());
  EXPECT_EQ(actions.at(1).run.begin(), 0u);
}

TEST_F(TrackerTest, ABitmapOfAnotherSizeIsRefused) {
  EXPECT_EQ(tracker_.Enter({NodeId{1}, {}, blob_, kSize, PieceBitmap(9), true}, now_).code(),
            StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace hearth::manager
