// What the tracker is told beside joins: reconnects, batches, outages, sums, accusations.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <map>
#include <set>
#include <string>

#include "manager/tracker.h"

namespace hearth::manager {
namespace {

using Kind = TrackerAction::Kind;
using std::chrono::seconds;

constexpr uint64_t kSize = 64 << 20;  // 256 pieces of 256 KiB
constexpr uint32_t kPieces = 256;

class SwarmRulesTest : public testing::Test {
 protected:
  Status Enter(uint32_t node, bool judged = true, PieceBitmap present = PieceBitmap(kPieces)) {
    return tracker_.Enter({NodeId{node}, {}, blob_, kSize, std::move(present), true, judged}, now_);
  }
  std::vector<TrackerAction> Of(Kind kind) {
    std::vector<TrackerAction> found;
    for (TrackerAction& action : tracker_.Take()) {
      if (action.kind == kind) found.push_back(std::move(action));
    }
    return found;
  }
  // Leases that came meanwhile go to again_, sums that node 0 hears to agreed_.
  void Keep() {
    for (auto& action : kept_) {
      if (action.kind == Kind::kLease) again_.push_back(action);
      if (action.kind == Kind::kSums && action.to == NodeId{0}) {
        for (const PieceSum& sum : action.sums) agreed_[uint32_t(sum.piece)] = sum.sum;
      }
    }
    kept_.clear();
  }
  // Everybody fetches what it is leased and says what `sum` says, until nothing is leased.
  size_t Run(std::function<std::string(uint32_t, uint32_t)> sum) {
    size_t fetched = 0;
    again_ = Of(Kind::kLease);
    while (!again_.empty()) {
      const auto leases = std::exchange(again_, {});
      for (const auto& lease : leases) {
        if (tracker_.blame().IsBanned(lease.to)) continue;
        std::vector<PieceSum> sums;
        for (uint32_t piece = lease.run.begin(); piece < lease.run.end(); ++piece) {
          sums.push_back({PieceIndex{piece}, Digest::Of(sum(Number(lease.to), piece))});
        }
        fetched += sums.size();
        tracker_.PiecesFetched(lease.to, blob_, {&lease.run, 1}, now_);
        tracker_.Attested(lease.to, blob_, sums, now_);
        kept_ = tracker_.Take();
        Keep();
      }
    }
    return fetched;
  }

  Tracker tracker_{{.seed = 7, .min_lease_bytes = 8 << 20}};
  const Digest blob_ = Digest::Of("blob");
  SteadyTime now_{seconds(1000)};
  std::vector<TrackerAction> kept_, again_;
  std::map<uint32_t, Digest> agreed_;
};

std::string Truth(uint32_t /*node*/, uint32_t piece) { return "piece" + std::to_string(piece); }

TEST_F(SwarmRulesTest, AMemberThatEntersAgainIsToldItsLeaseAndNeighboursAndDoublesNothing) {
  ASSERT_TRUE(Enter(1).ok());
  ASSERT_TRUE(Enter(2).ok());
  const auto first = Of(Kind::kLease);
  ASSERT_EQ(first.size(), 2u);
  const PieceRun some{PieceIndex{0}, 10};
  tracker_.PiecesFetched(NodeId{1}, blob_, {&some, 1}, now_);
  PieceBitmap has(kPieces);
  for (uint32_t piece = 0; piece < 12; ++piece) has.Set(PieceIndex{piece});
  ASSERT_TRUE(Enter(1, true, has).ok());
  const auto actions = tracker_.Take();
  ASSERT_EQ(actions.size(), 2u);
  EXPECT_EQ(actions[0].kind, Kind::kNeighbours);
  EXPECT_EQ(actions[0].neighbours, std::vector{NodeId{2}});
  EXPECT_EQ(actions[1].kind, Kind::kLease);
  EXPECT_EQ(actions[1].run, (PieceRun{PieceIndex{12}, 20})) << "what its bitmap lacks";
  EXPECT_EQ(tracker_.View(blob_)->members.size(), 2u);
  EXPECT_EQ(tracker_.View(blob_)->leases.size(), 2u);
}

TEST_F(SwarmRulesTest, ANodeThatLostItsStoreFetchesAgainWhatNobodyElseHas) {
  ASSERT_TRUE(Enter(1).ok());
  EXPECT_EQ(Run(Truth), kPieces);
  ASSERT_TRUE(Enter(1).ok());
  const PieceRun all{PieceIndex{0}, kPieces};
  tracker_.PiecesMissing(NodeId{1}, blob_, {&all, 1}, now_);
  EXPECT_EQ(Run(Truth), kPieces);
}

TEST_F(SwarmRulesTest, ANodeThatGoesLeavesAllSwarmsAndTheInventory) {
  const Digest other = Digest::Of("other");
  ASSERT_TRUE(Enter(1).ok());
  ASSERT_TRUE(tracker_.Enter({NodeId{1}, {}, other, kSize, PieceBitmap(kPieces), true}, now_).ok());
  ASSERT_TRUE(Enter(2).ok());
  ASSERT_TRUE(tracker_.Holds(NodeId{1}, {}, std::vector{Digest::Of("held")}, now_).ok());
  tracker_.NodeGone(NodeId{1}, now_);
  EXPECT_EQ(tracker_.Swarms(), std::vector{blob_});
  EXPECT_EQ(tracker_.View(blob_)->members.size(), 1u);
  EXPECT_EQ(tracker_.inventory().blobs(), 0u);
  EXPECT_EQ(tracker_.nodes(), 1u);
  const auto leases = tracker_.View(blob_)->leases;
  for (const auto& lease : leases) EXPECT_EQ(lease.holder, NodeId{2});
}

TEST_F(SwarmRulesTest, WhatAHolderHasIsNotLeasedAndTheHolderIsANeighbour) {
  ASSERT_TRUE(tracker_.Holds(NodeId{9}, {}, std::vector{blob_}, now_).ok());
  ASSERT_TRUE(Enter(1).ok());
  const auto actions = tracker_.Take();
  ASSERT_EQ(actions.size(), 1u);
  EXPECT_EQ(actions[0].neighbours, std::vector{NodeId{9}});
  tracker_.HoldsNot(NodeId{9}, std::vector{blob_}, now_);
  const PieceRun all{PieceIndex{0}, kPieces};
  tracker_.PiecesMissing(NodeId{1}, blob_, {&all, 1}, now_);
  EXPECT_EQ(Run(Truth), kPieces);
}

TEST_F(SwarmRulesTest, AMemberThatIsCompleteIsTheNeighbourOfThoseWhoComeLate) {
  ASSERT_TRUE(Enter(1).ok());
  ASSERT_TRUE(Enter(2).ok());
  ASSERT_TRUE(tracker_.Holds(NodeId{1}, {}, std::vector{blob_}, now_).ok());
  tracker_.Leave(NodeId{1}, blob_, now_);
  const auto leases = tracker_.View(blob_)->leases;
  for (const auto& lease : leases) EXPECT_EQ(lease.holder, NodeId{2});
  (void)tracker_.Take();
  ASSERT_TRUE(Enter(3).ok());
  const auto told = Of(Kind::kNeighbours);
  ASSERT_EQ(told.size(), 1u);
  EXPECT_THAT(told[0].neighbours, testing::UnorderedElementsAre(NodeId{1}, NodeId{2}));
  tracker_.HoldsNot(NodeId{1}, std::vector{blob_}, now_);
  EXPECT_EQ(tracker_.View(blob_)->members.size(), 2u) << "evicted";
  ASSERT_TRUE(tracker_.Holds(NodeId{2}, {}, std::vector{blob_}, now_).ok());
  tracker_.Leave(NodeId{2}, blob_, now_);
  tracker_.Leave(NodeId{3}, blob_, now_);
  EXPECT_TRUE(tracker_.Swarms().empty()) << "nobody is left who wants it";
}

TEST_F(SwarmRulesTest, ANodeWhoseOriginIsAwayWaitsAndAnotherFetches) {
  ASSERT_TRUE(Enter(1).ok());
  ASSERT_EQ(Of(Kind::kLease).size(), 1u);
  tracker_.OriginAway(NodeId{1}, blob_, now_);
  EXPECT_TRUE(Of(Kind::kLease).empty());
  ASSERT_TRUE(Enter(2).ok());
  const auto lease = Of(Kind::kLease);
  ASSERT_EQ(lease.size(), 1u);
  EXPECT_EQ(lease[0].to, NodeId{2});
  EXPECT_EQ(lease[0].run.begin(), 0u);
  now_ += LeaseBook::kAwayPause;
  tracker_.Tick(now_);
  ASSERT_EQ(Of(Kind::kLease).size(), 1u) << "1 may try again";
}

TEST_F(SwarmRulesTest, ARefusedNodeHoldsLeasesAgainOnceItsCredentialsAreTaken) {
  ASSERT_TRUE(Enter(1).ok());
  (void)tracker_.Take();
  tracker_.OriginRefused(NodeId{1}, blob_, now_);
  EXPECT_TRUE(Of(Kind::kLease).empty());
  tracker_.OriginAccepts(NodeId{1}, blob_, now_);
  EXPECT_EQ(Of(Kind::kLease).size(), 1u);
}

TEST_F(SwarmRulesTest, APieceThatOneNodeClaimsIsMissingStaysWithItsFetcher) {
  for (uint32_t node = 0; node < 4; ++node) ASSERT_TRUE(Enter(node).ok());
  EXPECT_EQ(Run(Truth), kPieces);
  now_ += LeaseBook::kAgainAfter;
  const PieceRun run{PieceIndex{0}, 8};
  for (int i = 0; i < 5; ++i) tracker_.PiecesMissing(NodeId{3}, blob_, {&run, 1}, now_);
  EXPECT_TRUE(Of(Kind::kLease).empty());
  tracker_.PiecesMissing(NodeId{2}, blob_, {&run, 1}, now_);
  const auto again = Of(Kind::kLease);
  ASSERT_EQ(again.size(), 1u) << "two say so: the holder of the lease lied";
  EXPECT_EQ(again[0].run, run);
  EXPECT_NE(again[0].to, NodeId{0}) << "it had the lease of the first run";
}

TEST_F(SwarmRulesTest, WithoutADigestTwoNodesFetchEachPieceAndBothMustSayTheSame) {
  for (uint32_t node = 0; node < 5; ++node) ASSERT_TRUE(Enter(node, false).ok());
  EXPECT_EQ(Run(Truth), 2 * kPieces);
  EXPECT_EQ(agreed_.size(), kPieces);
}

TEST_F(SwarmRulesTest, WithoutADigestOneLiarIsOutvotedAndBanned) {
  for (uint32_t node = 0; node < 5; ++node) ASSERT_TRUE(Enter(node, false).ok());
  (void)Run([](uint32_t node, uint32_t piece) {
    return node == 3 ? "lie" + std::to_string(piece) : Truth(node, piece);
  });
  ASSERT_EQ(agreed_.size(), kPieces);
  for (const auto& [piece, sum] : agreed_) EXPECT_EQ(sum, Digest::Of(Truth(0, piece)));
  EXPECT_EQ(tracker_.blame().Banned(), std::vector{NodeId{3}});
}

TEST_F(SwarmRulesTest, SumsOfPiecesThatNobodyLeasedToTheNodeAreIgnored) {
  for (uint32_t node = 0; node < 4; ++node) ASSERT_TRUE(Enter(node, false).ok());
  std::vector<PieceSum> lies;
  for (uint32_t piece = 0; piece < kPieces; ++piece) {
    lies.push_back({PieceIndex{piece}, Digest::Of("lie")});
  }
  const auto before = tracker_.Take();
  for (uint32_t node = 2; node < 4; ++node) {
    tracker_.Attested(NodeId{node + 100}, blob_, lies, now_);
  }
  EXPECT_TRUE(Of(Kind::kSums).empty());
}

TEST_F(SwarmRulesTest, AWrongDigestHasEveryPieceFetchedByOthersUntilTwoAgree) {
  for (uint32_t node = 0; node < 6; ++node) ASSERT_TRUE(Enter(node).ok());
  const auto liar = [](uint32_t node, uint32_t piece) {
    return node == 2 ? "lie" + std::to_string(piece) : Truth(node, piece);
  };
  EXPECT_EQ(Run(liar), kPieces);
  EXPECT_TRUE(agreed_.empty()) << "one word is enough until the digest disagrees";
  for (const uint32_t node : {0u, 1u}) tracker_.DigestMismatch(NodeId{node}, blob_, now_);
  EXPECT_TRUE(Of(Kind::kLease).empty()) << "a third of the members may all lie";
  tracker_.DigestMismatch(NodeId{3}, blob_, now_);
  EXPECT_LE(Run(liar), kPieces + 2 * kPieces / 3);
  ASSERT_EQ(agreed_.size(), kPieces);
  for (const auto& [piece, sum] : agreed_) EXPECT_EQ(sum, Digest::Of(Truth(0, piece)));
  EXPECT_TRUE(tracker_.blame().Banned().empty()) << "the nodes judge by the digest";
}

TEST_F(SwarmRulesTest, AMismatchOfARoundThatIsOverDoesNotBeginAnother) {
  for (uint32_t node = 0; node < 4; ++node) ASSERT_TRUE(Enter(node).ok());
  EXPECT_EQ(Run(Truth), kPieces);
  PieceBitmap kept(kPieces);  // of what it fetched itself, at least
  for (uint32_t piece = 0; piece < kPieces; ++piece) kept.Set(PieceIndex{piece});
  for (const uint32_t node : {0u, 1u}) {
    tracker_.DigestMismatch(NodeId{node}, blob_, now_);
    ASSERT_TRUE(Enter(node, true, kept).ok());
  }
  EXPECT_EQ(Run(Truth), kPieces) << "a second opinion of each";
  for (const uint32_t node : {2u, 3u}) {
    tracker_.DigestMismatch(NodeId{node}, blob_, now_);
    ASSERT_TRUE(Enter(node, true, kept).ok());
  }
  EXPECT_EQ(Run(Truth), 0u) << "they had what the others had";
  for (const uint32_t node : {2u, 3u}) tracker_.DigestMismatch(NodeId{node}, blob_, now_);
  EXPECT_EQ(Run(Truth), kPieces) << "what two agreed on is wrong as well";
}

TEST_F(SwarmRulesTest, AfterAMismatchAPieceThatTooFewVouchForIsLeasedToWhoMissesIt) {
  for (uint32_t node = 0; node < 3; ++node) ASSERT_TRUE(Enter(node).ok());
  std::set<uint32_t> fetchers;  // of piece 0
  const auto fetch_all = [&](bool attest) {
    for (auto leases = Of(Kind::kLease); !leases.empty(); leases = Of(Kind::kLease)) {
      for (const auto& lease : leases) {
        std::vector<PieceSum> sums;
        for (uint32_t piece = lease.run.begin(); piece < lease.run.end(); ++piece) {
          sums.push_back({PieceIndex{piece}, Digest::Of(Truth(0, piece))});
          if (piece == 0) fetchers.insert(Number(lease.to));
        }
        if (attest) tracker_.Attested(lease.to, blob_, sums, now_);
        tracker_.PiecesFetched(lease.to, blob_, {&lease.run, 1}, now_);
      }
    }
  };
  fetch_all(true);
  for (const uint32_t node : {0u, 1u}) tracker_.DigestMismatch(NodeId{node}, blob_, now_);
  fetch_all(false);
  ASSERT_EQ(fetchers.size(), 2u);
  const uint32_t third = 3 - *fetchers.begin() - *fetchers.rbegin();
  const PieceRun run{PieceIndex{0}, 1};
  tracker_.PiecesMissing(NodeId{third}, blob_, {&run, 1}, now_);
  const auto leases = Of(Kind::kLease);
  ASSERT_EQ(leases.size(), 1u) << "its fetcher is here, but alone with its word";
  EXPECT_EQ(leases[0].to, NodeId{third});
}

TEST_F(SwarmRulesTest, TheMismatchOfTheLastThatWantTheBlobCountsWhoeverHasIt) {
  for (uint32_t node = 0; node < 4; ++node) ASSERT_TRUE(Enter(node).ok());
  EXPECT_EQ(Run(Truth), kPieces);
  tracker_.DigestMismatch(NodeId{0}, blob_, now_);
  ASSERT_TRUE(Enter(0).ok());
  EXPECT_TRUE(agreed_.empty());
  for (const uint32_t node : {1u, 2u}) {
    ASSERT_TRUE(tracker_.Holds(NodeId{node}, {}, std::vector{blob_}, now_).ok());
    tracker_.Leave(NodeId{node}, blob_, now_);
  }
  EXPECT_GT(Run(Truth), 0u) << "it is half of those who lack it";
}

TEST_F(SwarmRulesTest, MoreThanHalfOfANodesNeighboursMustAccuseIt) {
  for (uint32_t node = 0; node < 5; ++node) ASSERT_TRUE(Enter(node).ok());
  for (int i = 0; i < 9; ++i) tracker_.Accuse(NodeId{1}, NodeId{0}, blob_, now_);
  tracker_.Accuse(NodeId{2}, NodeId{0}, blob_, now_);
  tracker_.Accuse(NodeId{99}, NodeId{0}, blob_, now_);
  EXPECT_TRUE(tracker_.blame().Banned().empty()) << "two of four, and a stranger";
  EXPECT_EQ(tracker_.blame().AllAccused().at(0).node, NodeId{0});
  tracker_.Accuse(NodeId{3}, NodeId{0}, blob_, now_);
  EXPECT_EQ(tracker_.blame().Banned(), std::vector{NodeId{0}});
  EXPECT_EQ(Of(Kind::kBanned).size(), 1u);
  EXPECT_EQ(tracker_.View(blob_)->members.size(), 4u);
}

TEST_F(SwarmRulesTest, ALiarAloneInASwarmHasNoHolderBanned) {
  for (uint32_t node = 0; node < 8; ++node) {
    ASSERT_TRUE(tracker_.Holds(NodeId{node}, {}, std::vector{blob_}, now_).ok());
  }
  for (const uint32_t liar : {8u, 9u}) {
    ASSERT_TRUE(Enter(liar).ok());
    for (uint32_t node = 0; node < 8; ++node) {
      tracker_.Accuse(NodeId{liar}, NodeId{node}, blob_, now_);
    }
  }
  EXPECT_TRUE(tracker_.blame().Banned().empty());
  EXPECT_EQ(tracker_.blame().AllAccused().size(), 8u) << "for display";
}

TEST_F(SwarmRulesTest, ABanLastsUntilItIsLifted) {
  tracker_.Ban(NodeId{1}, now_);
  now_ += std::chrono::hours(24 * 365);
  tracker_.Tick(now_);
  EXPECT_EQ(Enter(1).code(), StatusCode::kPermissionDenied);
  tracker_.Unban(NodeId{1});
  EXPECT_TRUE(Enter(1).ok());
}

TEST_F(SwarmRulesTest, BoundsHoldWhateverNodesAskFor) {
  for (uint32_t i = 0; i < Tracker::kMaxSwarmsOfNode; ++i) {
    const Digest blob = Digest::Of(std::to_string(i));
    ASSERT_TRUE(tracker_.Enter({NodeId{1}, {}, blob, 1, PieceBitmap(1), true}, now_).ok());
  }
  EXPECT_EQ(Enter(1).code(), StatusCode::kResourceExhausted);
  ASSERT_TRUE(Enter(2).ok());
  const uint64_t huge = uint64_t{5} << 40;  // 5 TiB: more pieces than all swarms may have
  const uint32_t pieces = PieceCount(huge, PieceSizeFor(huge));
  EXPECT_EQ(
      tracker_.Enter({NodeId{2}, {}, Digest::Of("huge"), huge, PieceBitmap(pieces), true}, now_)
          .code(),
      StatusCode::kResourceExhausted);
}

}  // namespace
}  // namespace hearth::manager
