#include "manager/order_hub_for_test.h"

namespace hearth::manager {
namespace {

using std::chrono::hours;
using std::chrono::minutes;
using testing::HasSubstr;

const Digest kBlob = Digest::Of(std::to_string(v1::Copy::BLOB));  // as Report() names it

class StandingPreheatTest : public OrderHubTest {
 protected:
  static JobRequest Standing(uint32_t nodes = 0) {
    JobRequest request = Request();
    request.spec.count = nodes;
    request.spec.keep = true;
    request.spec.refresh = hours(1);
    return request;
  }
  void Wait(std::chrono::milliseconds time) {
    clock_.Advance(time);
    hub_->Tick();
  }
};

TEST_F(StandingPreheatTest, ANodeThatJoinsLaterIsAskedAndOnlyThatOne) {
  const Member a = JoinNode("a");
  FakeOrderLink& first = Connect(a);
  const JobId id = Create(Standing());
  EXPECT_EQ(Report(a, id), OkStatus());
  EXPECT_EQ(Read(id).state, JobState::kSuccess);
  const size_t sent = first.sent.size();
  const Member b = JoinNode("b");
  FakeOrderLink& second = Connect(b);
  Wait(OrderHub::kStandingPause);
  EXPECT_EQ(Read(id).state, JobState::kPending);
  ASSERT_NE(second.LastOrder(), nullptr);
  EXPECT_EQ(first.sent.size(), sent);
  EXPECT_EQ(Report(b, id), OkStatus());
  EXPECT_EQ(Read(id).state, JobState::kSuccess);
  EXPECT_EQ(Read(id).targets.size(), 2u);
}

TEST_F(StandingPreheatTest, ANodeThatJoinsWhileAnotherOneIsWaitedForIsNotMadeToWait) {
  const Member a = JoinNode("a");
  const JobId id = Create(Standing());  // a is away
  const Member b = JoinNode("b");
  FakeOrderLink& link = Connect(b);
  Wait(OrderHub::kStandingPause);
  ASSERT_NE(link.LastOrder(), nullptr);
  EXPECT_EQ(Report(b, id), OkStatus());
  Restart();
  EXPECT_EQ(Read(id).targets.at(1).state, TargetState::kDone);
  EXPECT_EQ(Read(id).state, JobState::kPending);
}

// Its store may have been lost meanwhile.
TEST_F(StandingPreheatTest, ANodeThatComesBackIsAskedOnceMore) {
  const Member a = JoinNode("a");
  Connect(a);
  const JobId id = Create(Standing());
  EXPECT_EQ(Report(a, id), OkStatus());
  FakeOrderLink& again = Connect(a);
  Wait(OrderHub::kStandingPause);
  ASSERT_NE(again.LastOrder(), nullptr);
  EXPECT_EQ(again.LastOrder()->id().attempt(), 2u);
  EXPECT_EQ(Report(a, id, StatusCode::kOk, 2), OkStatus());
  Wait(2 * OrderHub::kStandingPause);
  EXPECT_EQ(Read(id).state, JobState::kSuccess);
}

TEST_F(StandingPreheatTest, AConnectedNodeThatDropsABlobOfItIsAskedOnceMore) {
  const Member a = JoinNode("a");
  const Member b = JoinNode("b");
  FakeOrderLink& link = Connect(a);
  FakeOrderLink& other = Connect(b);
  const JobId id = Create(Standing());
  for (const Member* node : {&a, &b}) EXPECT_EQ(Report(*node, id), OkStatus());
  const size_t sent = other.sent.size();
  hub_->Dropped(a.id, std::vector{Digest::Of("of another image")});
  Wait(OrderHub::kStandingPause);
  EXPECT_EQ(Read(id).state, JobState::kSuccess);
  hub_->Dropped(a.id, std::vector{kBlob});
  Wait(OrderHub::kStandingPause);
  ASSERT_EQ(link.LastOrder()->id().attempt(), 2u);
  EXPECT_EQ(Report(a, id, StatusCode::kOk, 2), OkStatus());
  EXPECT_EQ(Read(id).state, JobState::kSuccess);
  EXPECT_EQ(other.sent.size(), sent);
}

TEST_F(StandingPreheatTest, ADropAfterARestartOfTheManagerCountsToo) {
  const Member a = JoinNode("a");
  Connect(a);
  const JobId id = Create(Standing());
  EXPECT_EQ(Report(a, id), OkStatus());
  Restart();
  FakeOrderLink& link = Connect(a);
  Wait(OrderHub::kStandingPause);
  EXPECT_EQ(Report(a, id, StatusCode::kOk, 2), OkStatus());
  hub_->Dropped(a.id, std::vector{kBlob});
  Wait(OrderHub::kStandingPause);
  EXPECT_EQ(link.LastOrder()->id().attempt(), 3u);
}

// Its order may have looked at that blob before it was dropped.
TEST_F(StandingPreheatTest, ADropWhileTheNodesOrderRunsCountsWhenThatIsOver) {
  const Member a = JoinNode("a");
  const Member b = JoinNode("b");
  FakeOrderLink& link = Connect(a);
  Connect(b);
  const JobId id = Create(Standing());
  EXPECT_EQ(Report(b, id), OkStatus());
  hub_->Dropped(a.id, std::vector{kBlob});
  Wait(OrderHub::kStandingPause);
  EXPECT_EQ(link.LastOrder()->id().attempt(), 1u);
  EXPECT_EQ(Report(a, id), OkStatus());
  Wait(OrderHub::kStandingPause);
  EXPECT_EQ(link.LastOrder()->id().attempt(), 2u);
}

TEST_F(StandingPreheatTest, ADropAfterARefreshThatFailedCountsToo) {
  const Member a = JoinNode("a");
  FakeOrderLink& link = Connect(a);
  const JobId id = Create(Standing());
  EXPECT_EQ(Report(a, id), OkStatus());
  Wait(hours(1));
  EXPECT_EQ(Report(a, id, StatusCode::kUnavailable, 2), OkStatus());
  EXPECT_EQ(Read(id).state, JobState::kFailure);
  hub_->Dropped(a.id, std::vector{kBlob});
  Wait(OrderHub::kStandingPause);
  EXPECT_EQ(link.LastOrder()->id().attempt(), 3u);
}

TEST_F(StandingPreheatTest, ANodeThatCameBeforeAnEndIsWrittenDownIsAskedThen) {
  const Member a = JoinNode("a");
  Connect(a);
  const JobId id = Create(Standing());
  full_.full = true;
  EXPECT_EQ(Report(a, id), OkStatus());
  const Member b = JoinNode("b");
  FakeOrderLink& link = Connect(b);
  Wait(OrderHub::kStandingPause);
  EXPECT_EQ(link.LastOrder(), nullptr);
  full_.full = false;
  Wait(OrderHub::kStandingPause);
  Wait(OrderHub::kStandingPause);
  ASSERT_NE(link.LastOrder(), nullptr);
  EXPECT_EQ(link.LastOrder()->id().job(), id);
}

// A disk that is too small for all that is asked of it must not be filled and emptied for ever.
TEST_F(StandingPreheatTest, ANodeThatDropsItAgainAndAgainIsAskedEverLessOften) {
  const Member a = JoinNode("a");
  FakeOrderLink& link = Connect(a);
  JobRequest request = Standing();
  request.spec.refresh = hours(48);
  const JobId id = Create(request);
  EXPECT_EQ(Report(a, id), OkStatus());
  uint32_t attempt = 1;
  for (int minute = 0; minute < 10 * 60; ++minute) {
    hub_->Dropped(a.id, std::vector{kBlob});
    Wait(minutes(1));
    if (link.LastOrder()->id().attempt() == attempt) continue;
    EXPECT_EQ(Report(a, id, StatusCode::kOk, ++attempt), OkStatus());
  }
  EXPECT_GE(attempt, 14u);  // after 0, 1, 2, 4 … 64 minutes, then each 64
  EXPECT_LE(attempt, 17u);
}

TEST_F(StandingPreheatTest, OneForSomeNodesAsksThatOfThemWhichLostIt) {
  const Member a = JoinNode("a");
  Connect(a);
  const JobId id = Create(Standing(1));
  EXPECT_EQ(Report(a, id), OkStatus());
  std::vector<Member> others;
  for (const char* name : {"b", "c", "d", "e", "f"}) {
    others.push_back(JoinNode(name));
    Connect(others.back());
  }
  Wait(OrderHub::kStandingPause);
  for (const Member& other : others) hub_->Dropped(other.id, std::vector{kBlob});
  Wait(OrderHub::kStandingPause);
  EXPECT_EQ(Read(id).state, JobState::kSuccess);
  hub_->Dropped(a.id, std::vector{kBlob});
  Wait(OrderHub::kStandingPause);
  EXPECT_EQ(Read(id).targets.size(), 1u);
  EXPECT_EQ(links_["a"]->LastOrder()->id().attempt(), 2u);
}

// Each of them is read and written.
TEST_F(StandingPreheatTest, OfManyNotAllAreResumedAtOnceAndNoneIsForgotten) {
  const Member a = JoinNode("a");
  Connect(a);
  max_jobs_ = 100;
  Restart();
  Connect(a);
  constexpr size_t kMany = 3 * OrderHub::kMaxResumedAtOnce;
  for (size_t i = 0; i < kMany; ++i) EXPECT_EQ(Report(a, Create(Standing())), OkStatus());
  FakeOrderLink& link = Connect(a);
  const auto orders = [&] {
    return static_cast<size_t>(
        std::ranges::count_if(link.sent, [](const auto& message) { return message.has_order(); }));
  };
  Wait(OrderHub::kStandingPause);
  EXPECT_EQ(orders(), OrderHub::kMaxResumedAtOnce);
  for (JobId id = 1; id <= kMany; ++id) {
    hub_->Tick();
    (void)Report(a, id, StatusCode::kOk, 2);
  }
  for (JobId id = 1; id <= kMany; ++id) EXPECT_EQ(Read(id).targets.at(0).attempt, 2u) << id;
}

TEST_F(StandingPreheatTest, ThatNoNodeIsLeftIsSaidOnce) {
  const Member a = JoinNode("a");
  Connect(a);
  const JobId id = Create(Standing());
  EXPECT_EQ(Report(a, id), OkStatus());
  EXPECT_EQ(fleet_->SetCordon(a.id, true, "disk"), OkStatus());
  testing::internal::CaptureStderr();
  Wait(hours(1));
  for (int i = 0; i < 10; ++i) Wait(OrderHub::kStandingPause);
  const std::string log = testing::internal::GetCapturedStderr();
  const size_t first = log.find("has no node now");
  EXPECT_NE(first, std::string::npos) << log;
  EXPECT_EQ(log.find("has no node now", first + 1), std::string::npos) << log;
  EXPECT_EQ(fleet_->SetCordon(a.id, false, ""), OkStatus());
  Wait(OrderHub::kStandingPause);
  EXPECT_EQ(Read(id).state, JobState::kPending);
}

TEST_F(StandingPreheatTest, AllAreAskedAgainAtEachRefreshAlsoAfterARestart) {
  const Member a = JoinNode("a");
  const Member gone = JoinNode("gone");
  Connect(a);
  Connect(gone);
  const JobId id = Create(Standing());
  EXPECT_EQ(Report(a, id), OkStatus());
  EXPECT_EQ(Report(gone, id), OkStatus());
  EXPECT_EQ(fleet_->Forget(gone.id), OkStatus());
  Restart();
  FakeOrderLink& link = Connect(a);
  Wait(OrderHub::kStandingPause);
  EXPECT_EQ(Report(a, id, StatusCode::kOk, 2), OkStatus());
  Wait(minutes(59));
  EXPECT_EQ(Read(id).state, JobState::kSuccess);
  Wait(minutes(1));
  EXPECT_EQ(link.LastOrder()->id().attempt(), 3u);
  EXPECT_EQ(Read(id).targets.size(), 1u);
  EXPECT_TRUE(Read(id).tasks.empty());  // they are told anew
  EXPECT_EQ(Report(a, id, StatusCode::kOk, 3), OkStatus());
  Restart();
  EXPECT_EQ(Read(id).targets.size(), 1u);
  EXPECT_EQ(Read(id).tasks.size(), 2u);
}

TEST_F(StandingPreheatTest, ANodeThatComesAndGoesPutsNoRefreshOff) {
  const Member a = JoinNode("a");
  const Member b = JoinNode("b");
  Connect(a);
  Connect(b);
  const JobId id = Create(Standing());
  EXPECT_EQ(Report(a, id), OkStatus());
  EXPECT_EQ(Report(b, id), OkStatus());
  for (uint32_t attempt = 2; attempt <= 7; ++attempt) {
    Wait(minutes(9));
    Connect(b);
    Wait(OrderHub::kStandingPause);
    EXPECT_EQ(hub_->SetBio(id, std::to_string(attempt)), OkStatus());
    EXPECT_EQ(Report(b, id, StatusCode::kOk, attempt), OkStatus());
  }
  Wait(minutes(6));
  EXPECT_EQ(Read(id).targets.at(0).attempt, 2u);
  EXPECT_EQ(Read(id).targets.at(1).attempt, 8u);
}

TEST_F(StandingPreheatTest, OneThatWaitsEndsAtItsRefreshWhoeverComes) {
  const Member a = JoinNode("a");
  const Member dead = JoinNode("dead");
  JobRequest request = Standing();
  request.spec.timeout = minutes(20);
  Connect(a);
  const JobId id = Create(request);
  EXPECT_EQ(Report(a, id), OkStatus());
  for (int i = 0; i < 9; ++i) {
    Wait(minutes(11));
    Connect(a);
    Wait(OrderHub::kStandingPause);
    (void)Report(a, id, StatusCode::kOk, Read(id).targets.at(0).attempt);
  }
  EXPECT_GE(Read(id).refreshed, Read(id).created + hours(1));
}

TEST_F(StandingPreheatTest, OneForSomeNodesKeepsToThemUntilItsRefresh) {
  const Member a = JoinNode("a");
  Connect(a);
  const JobId id = Create(Standing(1));
  EXPECT_EQ(Report(a, id), OkStatus());
  for (const char* name : {"b", "c", "d"}) {
    Connect(JoinNode(name));
    Wait(OrderHub::kStandingPause);
  }
  EXPECT_EQ(Read(id).targets.size(), 1u);
}

TEST_F(StandingPreheatTest, ANodeLeftOutOfANamedListIsAskedWhenItReturns) {
  const Member a = JoinNode("a");
  const Member b = JoinNode("b");
  Connect(a);
  FakeOrderLink& link = Connect(b);
  JobRequest request = Standing();
  request.spec.nodes = {"a", "b"};
  const JobId id = Create(request);
  EXPECT_EQ(Report(a, id), OkStatus());
  EXPECT_EQ(Report(b, id), OkStatus());
  EXPECT_EQ(fleet_->SetCordon(b.id, true, "disk"), OkStatus());
  Wait(hours(1));
  EXPECT_EQ(Report(a, id, StatusCode::kOk, 2), OkStatus());
  EXPECT_EQ(Read(id).targets.size(), 1u);
  EXPECT_EQ(fleet_->SetCordon(b.id, false, ""), OkStatus());
  hub_->Returned(b.id);
  const size_t sent = link.sent.size();
  Wait(OrderHub::kStandingPause);
  EXPECT_GT(link.sent.size(), sent);
}

TEST_F(StandingPreheatTest, ACancelledOneThatIsRetriedDoesNotStandAgain) {
  const Member a = JoinNode("a");
  Connect(a);
  const JobId id = Create(Standing());
  EXPECT_EQ(hub_->Cancel(id), OkStatus());
  EXPECT_EQ(hub_->Retry(id), OkStatus());
  EXPECT_FALSE(Read(id).spec.keep);
  Restart();
  EXPECT_FALSE(Read(id).spec.keep);
}

TEST_F(StandingPreheatTest, ARetryLeavesCordonedNodesAlone) {
  const Member a = JoinNode("a");
  Connect(a);
  const JobId id = Create(Request());
  EXPECT_EQ(hub_->Cordon(a.id, "disk", /*drain=*/true), OkStatus());
  EXPECT_EQ(Read(id).state, JobState::kFailure);
  EXPECT_THAT(hub_->Retry(id).message(), HasSubstr("cordoned"));
}

TEST_F(StandingPreheatTest, EndsWithACancelInEachState) {
  const Member a = JoinNode("a");
  Connect(a);
  const JobId ended = Create(Standing());
  EXPECT_EQ(Report(a, ended), OkStatus());
  EXPECT_EQ(hub_->Cancel(ended), OkStatus());
  EXPECT_EQ(hub_->Cancel(ended).code(), StatusCode::kFailedPrecondition);
  EXPECT_EQ(Read(ended).state, JobState::kSuccess);
  const JobId active = Create(Standing());
  EXPECT_EQ(hub_->Cancel(active), OkStatus());
  Restart();
  FakeOrderLink& link = Connect(a);
  Wait(hours(2));
  EXPECT_EQ(link.LastOrder(), nullptr);
}

TEST_F(StandingPreheatTest, ThereAreNotMoreThanTheirLimitAndTheyOutliveOtherJobs) {
  const Member a = JoinNode("a");
  Connect(a);
  const JobId standing = Create(Standing());
  EXPECT_EQ(Report(a, standing), OkStatus());
  for (size_t i = 0; i < 2 * kMaxJobs; ++i) {
    clock_.Advance(minutes(1));
    EXPECT_EQ(Report(a, Create()), OkStatus());
  }
  EXPECT_TRUE(Read(standing).spec.keep);
}

}  // namespace
}  // namespace hearth::manager
