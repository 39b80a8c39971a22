#include "p2p/download.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <string_view>
#include <vector>

namespace hearth::p2p {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using Kind = Action::Kind;

constexpr uint64_t kPiece = 1 << 20;

// A download whose sources are drawn: 1 = has the piece.
class DownloadTest : public testing::Test {
 protected:
  Download Draw(uint32_t pieces) { return Download({pieces * kPiece, kPiece, 7}, now_); }
  SourceId Peer(Download& download, std::string_view has) {
    const SourceId peer = *download.AddPeer(milliseconds(20), now_);
    std::vector<PieceIndex> pieces;
    for (uint32_t piece = 0; piece < has.size(); ++piece) {
      if (has[piece] == '1') pieces.push_back(PieceIndex{piece});
    }
    download.PeerHas(peer, pieces, now_);
    return peer;
  }
  static std::vector<Action> Of(Kind kind, const std::vector<Action>& actions) {
    std::vector<Action> found;
    for (const Action& action : actions) {
      if (action.kind == kind) found.push_back(action);
    }
    return found;
  }
  void Wait(Download& download, SteadyTime::duration wait) {
    for (const SteadyTime end = now_ + wait; now_ < end; now_ += milliseconds(500)) {
      download.Tick(now_);
    }
    download.Tick(now_);
  }

  SteadyTime now_{seconds(1000)};
};

TEST_F(DownloadTest, AsksThePeerThatHasThePieceAndAnnouncesWhatArrives) {
  Download download = Draw(1);
  Peer(download, ".");
  const SourceId peer = Peer(download, "1");
  const auto asked = Of(Kind::kRequest, download.Take());
  ASSERT_EQ(asked.size(), 1u);
  EXPECT_EQ(asked[0].source, peer);
  download.PieceArrived(asked[0].request, PieceIndex{0}, true, now_ + milliseconds(50));
  const auto done = download.Take();
  EXPECT_EQ(Of(Kind::kAnnounce, done).size(), 1u);
  EXPECT_EQ(Of(Kind::kComplete, done).size(), 1u);
  EXPECT_EQ(download.requests(), 0u);
}

TEST_F(DownloadTest, TheOriginIsAskedForLeasedPiecesOnly) {
  Download download = Draw(6);
  EXPECT_TRUE(download.Take().empty());
  download.GrantLease({PieceIndex{2}, 3}, now_);
  const auto asked = Of(Kind::kRequest, download.Take());
  ASSERT_EQ(asked.size(), 1u);
  EXPECT_EQ(asked[0].source, kOriginSource);
  EXPECT_EQ(asked[0].run, (PieceRun{PieceIndex{2}, 3}));
  EXPECT_EQ(download.Picture(), "..rrr.");
}

TEST_F(DownloadTest, AStalledPeerIsSnubbedAndItsPieceGoesElsewhere) {
  Download download = Draw(1);
  const SourceId slow = Peer(download, "1");
  const auto first = Of(Kind::kRequest, download.Take());
  ASSERT_EQ(first.size(), 1u);
  EXPECT_EQ(first[0].source, slow);
  const SourceId other = Peer(download, "1");
  now_ += Download::kStallAfter;
  download.Tick(now_);
  const auto actions = download.Take();
  ASSERT_EQ(Of(Kind::kCancel, actions).size(), 1u);
  EXPECT_EQ(Of(Kind::kCancel, actions)[0].request, first[0].request);
  ASSERT_EQ(Of(Kind::kRequest, actions).size(), 1u);
  EXPECT_EQ(Of(Kind::kRequest, actions)[0].source, other);
}

TEST_F(DownloadTest, ASlowPeerIsNotSnubbedButOneThatSendsAByteNowAndThenIs) {
  for (const uint64_t bytes : {Download::kLeastBytes / 2, uint64_t{1}}) {
    Download download = Draw(1);
    Peer(download, "1");
    const auto asked = Of(Kind::kRequest, download.Take());
    ASSERT_EQ(asked.size(), 1u);
    for (int i = 0; i < 8; ++i) {
      now_ += seconds(1);
      download.Progress(asked[0].request, bytes, now_);
      download.Tick(now_);
    }
    EXPECT_EQ(Of(Kind::kCancel, download.Take()).empty(), bytes > 1) << bytes;
  }
}

TEST_F(DownloadTest, WhatWaitsForNoSourceIsNotSnubbed) {
  Download download = Draw(1);
  Peer(download, "1");
  const auto asked = Of(Kind::kRequest, download.Take());
  for (int i = 0; i < 8; ++i) {
    now_ += seconds(1);
    download.Excuse(asked[0].request, now_);
    download.Tick(now_);
  }
  EXPECT_TRUE(Of(Kind::kCancel, download.Take()).empty());
}

TEST_F(DownloadTest, APeerThatIsSlowOnPurposeKeepsNobodyFromTheOrigin) {
  Download download = Draw(2);
  Peer(download, "11");
  const auto asked = Of(Kind::kRequest, download.Take());
  ASSERT_EQ(asked.size(), 1u);
  for (int i = 0; i < 60 && !download.complete(); ++i) {
    now_ += seconds(1);
    download.Progress(asked[0].request, Download::kLeastBytes, now_);
    download.Tick(now_);
    for (const Action& action : Of(Kind::kRequest, download.Take())) {
      ASSERT_EQ(action.source, kOriginSource);
      download.PieceArrived(action.request, action.run.first, true, now_);
    }
  }
  EXPECT_TRUE(download.complete());
}

TEST_F(DownloadTest, BytesThatComeSlowlyAreNoReasonToGiveUp) {
  Download download = Draw(1);
  Peer(download, "1");
  const auto asked = Of(Kind::kRequest, download.Take());
  for (int i = 0; i < 60; ++i) {
    now_ += seconds(1);
    download.Progress(asked[0].request, Download::kLeastBytes, now_);
    download.Tick(now_);
    EXPECT_TRUE(Of(Kind::kGiveUp, download.Take()).empty()) << i;
  }
}

TEST_F(DownloadTest, DepthFollowsTheShortestTimeThatAPeerTookToAnswer) {
  Download download = Draw(100);
  Peer(download, std::string(100, '1'));
  std::vector<Action> asked;
  const auto take = [&] {
    for (const Action& action : Of(Kind::kRequest, download.Take())) asked.push_back(action);
    return asked.size();
  };
  // One piece each 50 ms; every third request waited in the peer's queue.
  const auto depth_after = [&](milliseconds answer) {
    for (int i = 0; i < 30; ++i) {
      (void)take();
      const Action first = asked.front();
      asked.erase(asked.begin());
      now_ += milliseconds(50);
      download.Answered(first.request, i % 3 == 0 ? answer + seconds(1) : answer);
      download.PieceArrived(first.request, first.run.first, true, now_);
    }
    return take();
  };
  EXPECT_EQ(depth_after(milliseconds(1)), 2u) << "20 ms at least";
  EXPECT_EQ(depth_after(milliseconds(190)), 5u);
}

TEST_F(DownloadTest, AWrongPieceIsBlamedAndItsSourceNeverAskedAgain) {
  Download download = Draw(2);
  const SourceId liar = Peer(download, "11");
  const auto asked = Of(Kind::kRequest, download.Take());
  ASSERT_FALSE(asked.empty());
  download.PieceArrived(asked[0].request, asked[0].run.first, false, now_);
  const auto actions = download.Take();
  ASSERT_EQ(Of(Kind::kBlame, actions).size(), 1u);
  EXPECT_EQ(Of(Kind::kBlame, actions)[0].source, liar);
  Wait(download, Download::kAloneAfter - seconds(1));
  EXPECT_TRUE(Of(Kind::kRequest, download.Take()).empty());
  EXPECT_EQ(download.Picture(), "..") << "the wrong piece is not here";
  const SourceId honest = Peer(download, "11");
  const auto again = Of(Kind::kRequest, download.Take());
  ASSERT_FALSE(again.empty());
  Wait(download, seconds(90));
  for (const Action& action : Of(Kind::kRequest, download.Take())) EXPECT_NE(action.source, liar);
  EXPECT_EQ(again[0].source, honest);
}

TEST_F(DownloadTest, TheSlowestRequestIsHedgedAndTheLoserCancelled) {
  Download download = Draw(1);
  const SourceId slow = Peer(download, "1");
  const auto first = Of(Kind::kRequest, download.Take());
  ASSERT_EQ(first.size(), 1u);
  ASSERT_EQ(first[0].source, slow);
  const SourceId fast = Peer(download, "1");
  EXPECT_EQ(download.NextTick(), now_ + Download::kMinHedgeAge) << "not at the usual tick";
  now_ += Download::kMinHedgeAge;
  download.Tick(now_);
  const auto hedge = Of(Kind::kRequest, download.Take());
  ASSERT_EQ(hedge.size(), 1u);
  EXPECT_EQ(hedge[0].source, fast);
  download.PieceArrived(hedge[0].request, PieceIndex{0}, true, now_);
  const auto actions = download.Take();
  ASSERT_EQ(Of(Kind::kCancel, actions).size(), 1u);
  EXPECT_EQ(Of(Kind::kCancel, actions)[0].request, first[0].request);
  EXPECT_EQ(Of(Kind::kComplete, actions).size(), 1u);
}

TEST_F(DownloadTest, ABusyPeerIsAskedAgainAfterAPause) {
  Download download = Draw(1);
  const SourceId peer = Peer(download, "1");
  const auto asked = Of(Kind::kRequest, download.Take());
  ASSERT_EQ(asked.size(), 1u);
  download.Failed(asked[0].request, Failure::kBusy, now_);
  EXPECT_TRUE(Of(Kind::kRequest, download.Take()).empty());
  EXPECT_LE(download.NextTick(), now_ + Download::kBusyPause);
  now_ += Download::kBusyPause;
  download.Tick(now_);
  const auto again = Of(Kind::kRequest, download.Take());
  ASSERT_EQ(again.size(), 1u);
  EXPECT_EQ(again[0].source, peer);
}

TEST_F(DownloadTest, ADepartedPeersPiecesAreAskedElsewhere) {
  Download download = Draw(1);
  const SourceId gone = Peer(download, "1");
  ASSERT_EQ(Of(Kind::kRequest, download.Take()).size(), 1u);
  const SourceId other = Peer(download, "1");
  download.RemovePeer(gone, now_);
  const auto asked = Of(Kind::kRequest, download.Take());
  ASSERT_EQ(asked.size(), 1u);
  EXPECT_EQ(asked[0].source, other);
}

TEST_F(DownloadTest, WithoutAnySourceItTellsTheTrackerAndGivesUpWithinItsBound) {
  Download download = Draw(2);
  Wait(download, Download::kStarvedAfter);
  EXPECT_EQ(Of(Kind::kMissing, download.Take()).size(), 1u);
  Wait(download, Download::kGiveUpAfter);
  EXPECT_EQ(Of(Kind::kGiveUp, download.Take()).size(), 1u) << "once, not at each tick";
}

TEST_F(DownloadTest, WhatNobodyHasIsToldAsRuns) {
  Download download = Draw(6);
  download.AddPresent(PieceIndex{2}, now_);
  Wait(download, Download::kStarvedAfter);
  auto missing = Of(Kind::kMissing, download.Take());
  std::ranges::sort(missing, {}, [](const Action& action) { return action.run.begin(); });
  ASSERT_EQ(missing.size(), 2u);
  EXPECT_EQ(missing[0].run, (PieceRun{PieceIndex{0}, 2}));
  EXPECT_EQ(missing[1].run, (PieceRun{PieceIndex{3}, 3}));
}

TEST_F(DownloadTest, WhatTurnsUpByItselfIsAskedOfNobodyAnyMore) {
  Download download = Draw(2);
  Peer(download, "11");
  const auto asked = Of(Kind::kRequest, download.Take());
  ASSERT_EQ(asked.size(), 1u);
  download.AddPresent(asked[0].run.first, now_);
  const auto cancelled = Of(Kind::kCancel, download.Take());
  ASSERT_EQ(cancelled.size(), 1u);
  EXPECT_EQ(cancelled[0].request, asked[0].request);
  EXPECT_EQ(download.requests(), 1u) << "for the other piece";
}

TEST_F(DownloadTest, APieceOfWhichPeersHaveAFalseVersionIsNotAwaitedOfThem) {
  Download download = Draw(1);
  const SourceId peer = Peer(download, "1");
  ASSERT_EQ(Of(Kind::kRequest, download.Take()).size(), 1u);
  download.PeersHaveNot(PieceIndex{0}, now_);
  EXPECT_EQ(Of(Kind::kCancel, download.Take()).size(), 1u);
  Wait(download, seconds(1));
  EXPECT_TRUE(Of(Kind::kRequest, download.Take()).empty());
  download.PeerHas(peer, {PieceIndex{0}}, now_);
  EXPECT_EQ(Of(Kind::kRequest, download.Take()).size(), 1u) << "it is not to blame";
}

TEST_F(DownloadTest, WithoutALeaseItWaitsLongerForATrackerThanWithoutOneAndThenFetchesAlone) {
  for (const bool tracker : {true, false}) {
    Download download = Draw(20);
    download.SetTracker(tracker, now_);
    const auto wait = tracker ? Download::kAloneAfter : Download::kAloneWithoutTracker;
    Wait(download, wait - milliseconds(500));
    EXPECT_TRUE(Of(Kind::kRequest, download.Take()).empty()) << tracker;
    Wait(download, milliseconds(500));
    const auto asked = Of(Kind::kRequest, download.Take());
    ASSERT_EQ(asked.size(), 1u) << tracker;
    EXPECT_EQ(asked[0].source, kOriginSource);
    EXPECT_LE(asked[0].run.count * kPiece, Download::kOriginRunBytes);
  }
}

TEST_F(DownloadTest, AloneItGoesOnUntilItHasEverythingWithoutWaitingAgain) {
  Download download = Draw(40);
  download.SetTracker(false, now_);
  Wait(download, Download::kAloneWithoutTracker);
  for (int i = 0; i < 40; ++i) {
    const auto asked = Of(Kind::kRequest, download.Take());
    for (const Action& action : asked) {
      for (uint32_t piece = action.run.begin(); piece < action.run.end(); ++piece) {
        download.PieceArrived(action.request, PieceIndex{piece}, true, now_);
      }
    }
  }
  EXPECT_TRUE(download.complete()) << download.Picture();
}

TEST_F(DownloadTest, APeerThatHasSomethingEndsGoingAlone) {
  Download download = Draw(40);
  download.SetTracker(false, now_);
  Wait(download, Download::kAloneWithoutTracker);
  const auto asked = Of(Kind::kRequest, download.Take());
  ASSERT_EQ(asked.size(), 1u);
  Peer(download, std::string(40, '1'));
  (void)download.Take();
  for (uint32_t piece = asked[0].run.begin(); piece < asked[0].run.end(); ++piece) {
    download.PieceArrived(asked[0].request, PieceIndex{piece}, true, now_);
  }
  for (const Action& action : Of(Kind::kRequest, download.Take())) {
    EXPECT_NE(action.source, kOriginSource);
  }
}

TEST_F(DownloadTest, RequestsStayWithinTheirBoundWhateverThePeersOffer) {
  Download download = Draw(500);
  for (int i = 0; i < 64; ++i) Peer(download, std::string(500, '1'));
  EXPECT_FALSE(download.AddPeer(milliseconds(1), now_)) << "kMaxSources with the origin";
  EXPECT_LE(download.requests(), Download::kMaxRequests);
  EXPECT_GE(download.requests(), Download::kMinRequests);
}

TEST_F(DownloadTest, KeptPieceThatIsLeasedComesOnceMoreAndIsAnnounced) {
  Download download = Draw(3);
  download.AddKept(PieceIndex{0});
  download.AddKept(PieceIndex{1});
  download.GrantLease({PieceIndex{0}, 2}, now_);
  const auto asked = Of(Kind::kRequest, download.Take());
  ASSERT_EQ(asked.size(), 1u);
  EXPECT_EQ(asked[0].run, (PieceRun{PieceIndex{0}, 2}));
  download.PieceArrived(asked[0].request, PieceIndex{0}, true, now_);
  EXPECT_EQ(Of(Kind::kAnnounce, download.Take()).size(), 1u);
  EXPECT_FALSE(download.picker().IsKept(PieceIndex{0}));

  download.AddPresent(PieceIndex{1}, now_);  // somebody vouched for it meanwhile
  EXPECT_EQ(download.requests(), 0u);
  EXPECT_EQ(download.picker().missing(), 1u);
}

TEST_F(DownloadTest, WhatIsKeptIsEnoughToBeComplete) {
  Download download = Draw(2);
  download.AddKept(PieceIndex{0});
  download.GrantLease({PieceIndex{0}, 2}, now_);
  const auto asked = Of(Kind::kRequest, download.Take());
  ASSERT_EQ(asked.size(), 1u);
  download.AddPresent(PieceIndex{1}, now_);
  EXPECT_TRUE(download.complete());
  EXPECT_EQ(download.requests(), 0u);
}

}  // namespace
}  // namespace hearth::p2p
