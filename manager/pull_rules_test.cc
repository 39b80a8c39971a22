// How Jobs carries out a pull job: time per node, early stop, nodes that are offline.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "manager/jobs.h"

namespace hearth::manager {
namespace {

using std::chrono::seconds;
using testing::HasSubstr;

constexpr WallTime kNow{seconds(1'700'000'000)};

class PullRulesTest : public ::testing::Test {
 protected:
  // For the nodes "a", "b", …; one in capitals never joined.
  void Add(const std::string& nodes, const std::string& tolerate, uint32_t concurrency = 100,
           uint32_t retries = 0) {
    Job job;
    job.id = 1;
    job.created = job.updated = kNow;
    job.spec.items.emplace_back().url = "nginx";
    job.spec.timeout = seconds(0);
    job.spec.node_timeout = seconds(100);
    job.spec.stop_early = true;
    job.spec.concurrency = concurrency;
    job.spec.retries = retries;
    job.spec.failure_tolerate = *FailureTolerance::Parse(tolerate);
    for (const char name : nodes) {
      Target& target = job.targets.emplace_back();
      target.node_id = target.name = std::string(1, name);
      if (name > 'Z') continue;
      target.state = TargetState::kFailed;
      target.why = {{0, StatusCode::kNotFound, "no node of this name"}};
    }
    ASSERT_EQ(jobs_.Add(job), OkStatus());
  }
  void Online(const std::string& nodes) {
    for (const char name : nodes) jobs_.Online(std::string(1, name));
  }
  void Done(const std::string& node, WallTime now = kNow) {
    ItemOutcome warm;
    warm.copies.emplace_back().url = "https://r/v2/i/blobs/1";
    jobs_.Report(node, 1, AttemptOf(node), {warm}, now);
  }
  void Failed(const std::string& node, WallTime now = kNow,
              const Status& why = Unavailable("the registry is away")) {
    ItemOutcome bad;
    bad.status = why;
    jobs_.Report(node, 1, AttemptOf(node), {bad}, now);
  }
  const Target& Of(const std::string& node) const {
    for (const Target& target : jobs_.Find(1)->targets) {
      if (target.name == node) return target;
    }
    ADD_FAILURE() << node;
    return jobs_.Find(1)->targets.front();
  }
  uint32_t AttemptOf(const std::string& node) const { return Of(node).attempt; }
  std::string WhyOf(const std::string& node) const { return Of(node).why.at(0).message.str(); }

  // One letter a target: waiting ".", running "r", done "D", failed "F"; then the job's state.
  std::string Picture() const {
    std::string picture;
    for (const Target& target : jobs_.Find(1)->targets) {
      picture += ".rDF"[static_cast<size_t>(target.state)];
    }
    return picture + " " + std::string(JobStateName(jobs_.Find(1)->state));
  }

  Jobs jobs_;
};

TEST_F(PullRulesTest, ToleratedFailuresAreASuccess) {
  Online("abcdefghij");
  Add("abcdefghij", "0.1");
  for (const char* node : {"a", "b", "c", "d", "e", "f", "g", "h", "i"}) Done(node);
  EXPECT_EQ(Picture(), "DDDDDDDDDr PENDING");
  Failed("j");
  EXPECT_EQ(Picture(), "DDDDDDDDDF SUCCESS");
}

TEST_F(PullRulesTest, StartsNoNewNodeOnceTooManyFailedAndAwaitsThoseThatRun) {
  Online("abcdef");
  Add("abcdef", "0.2", 2);
  EXPECT_EQ(Picture(), "rr.... PENDING");
  Failed("a");
  EXPECT_EQ(Picture(), "Frr... PENDING");  // 1 of 6 is within 0.2
  Failed("b");
  EXPECT_EQ(Picture(), "FFrFFF PENDING");
  EXPECT_THAT(WhyOf("f"), HasSubstr("not tried: 2 of 6 nodes failed, failureTolerate is 0.2"));
  Done("c");
  EXPECT_EQ(Picture(), "FFDFFF FAILURE");
}

TEST_F(PullRulesTest, ZeroToleranceFailsWithTheFirst) {
  Online("ab");
  Add("ab", "0", 1);
  Failed("a");
  EXPECT_EQ(Picture(), "FF FAILURE");
}

TEST_F(PullRulesTest, ZeroToleranceIsNoFailureByItself) {
  Online("ab");
  Add("ab", "0");
  Done("a");
  Done("b");
  EXPECT_EQ(Picture(), "DD SUCCESS");
}

// The times of before count for nothing: nobody could reach it.
TEST_F(PullRulesTest, ARestartedManagerGivesNodesTheirTimeAnew) {
  Add("ab", "0", 1);  // created at kNow, and the manager starts much later
  const WallTime later = kNow + std::chrono::hours(1);
  jobs_.Tick(later);
  jobs_.Tick(later + seconds(99));
  EXPECT_EQ(Picture(), ".. PENDING");
  Online("a");
  EXPECT_EQ(Picture(), "r. PENDING");
  jobs_.Tick(later + seconds(150));
  Done("a", later + seconds(160));
  jobs_.Tick(later + seconds(170));
  jobs_.Tick(later + seconds(269));
  EXPECT_EQ(Picture(), "D. PENDING");
  jobs_.Tick(later + seconds(270));
  EXPECT_EQ(Picture(), "DF FAILURE");
}

TEST_F(PullRulesTest, NodesThatNeverJoinedCountAtOnce) {
  Add("A", "0.1");
  EXPECT_EQ(Picture(), "F FAILURE");
}

TEST_F(PullRulesTest, NodesThatNeverJoinedMayBeTolerated) {
  Online("b");
  Add("Ab", "0.5");
  EXPECT_EQ(Picture(), "Fr PENDING");
  Done("b");
  EXPECT_EQ(Picture(), "FD SUCCESS");
}

// retryTimes counts what comes after the first attempt.
TEST_F(PullRulesTest, AttemptsAreRetriesAndOne) {
  Online("a");
  Add("a", "0", 1, 1);
  Failed("a");
  EXPECT_EQ(Picture(), ". PENDING");
  jobs_.Tick(kNow + seconds(2));
  EXPECT_EQ(Picture(), "r PENDING");
  Failed("a");
  EXPECT_EQ(Picture(), "F FAILURE");
}

TEST_F(PullRulesTest, TimeRunsPerNodeFromItsFirstOrder) {
  Online("ab");
  Add("ab", "0.5", 1);
  jobs_.Tick(kNow);
  jobs_.Tick(kNow + seconds(99));
  EXPECT_EQ(Picture(), "r. PENDING");
  jobs_.Tick(kNow + seconds(100));
  EXPECT_EQ(Picture(), "Fr PENDING");
  EXPECT_EQ(Of("a").why.at(0).code, StatusCode::kDeadlineExceeded);
  EXPECT_THAT(WhyOf("a"), HasSubstr("timeoutSeconds (100)"));
  jobs_.Tick(kNow + seconds(101));
  jobs_.Tick(kNow + seconds(200));
  EXPECT_EQ(Picture(), "Fr PENDING");  // b began at 101
  Done("b");
  EXPECT_EQ(Picture(), "FD SUCCESS");
}

TEST_F(PullRulesTest, ANodeWhoseDiskIsFullIsTriedAsOftenAsAskedAndThenTolerated) {
  Online("ab");
  Add("ab", "0.5", 1, 1);
  jobs_.Tick(kNow);
  Failed("a", kNow, ResourceExhausted("no room for 32 MiB"));
  EXPECT_EQ(Picture(), ".r PENDING") << "it keeps no slot while it waits for its next attempt";
  jobs_.Tick(kNow + seconds(2));
  EXPECT_EQ(Picture(), ".r PENDING");
  Done("b", kNow + seconds(3));
  EXPECT_EQ(Picture(), "rD PENDING");
  Failed("a", kNow + seconds(4), ResourceExhausted("no room for 32 MiB"));
  EXPECT_EQ(Picture(), "FD SUCCESS");
  EXPECT_EQ(WhyOf("a"), "no room for 32 MiB");
}

TEST_F(PullRulesTest, ASlowNodeIsToldToStopGivesUpItsSlotAndIsNotHeardAfterwards) {
  Online("ab");
  Add("ab", "0.5", 1, 3);
  jobs_.Tick(kNow);
  const uint32_t attempt = AttemptOf("a");
  (void)jobs_.Take();
  EXPECT_TRUE(jobs_.Progress("a", 1, attempt, {.done = 1, .total = 100}, kNow));
  jobs_.Tick(kNow + seconds(100));
  EXPECT_EQ(Picture(), "Fr PENDING") << "it had its time, whatever retries are left";
  const auto actions = jobs_.Take();
  EXPECT_EQ(std::ranges::count_if(actions,
                                  [](const JobAction& action) {
                                    return action.kind == JobAction::Kind::kCancel &&
                                           action.node_id == "a";
                                  }),
            1);
  Done("a", kNow + seconds(101));
  EXPECT_FALSE(jobs_.Progress("a", 1, attempt, {.done = 99, .total = 100}, kNow));
  EXPECT_EQ(Picture(), "Fr PENDING");
}

// The node's own clock of its order may be a moment ahead of the manager's.
TEST_F(PullRulesTest, ASlowNodeThatStopsByItselfIsNotTriedAgain) {
  Online("a");
  Add("a", "0", 1, 3);
  jobs_.Tick(kNow);
  Failed("a", kNow + seconds(100), DeadlineExceeded("the job's time is over"));
  jobs_.Tick(kNow + seconds(100));
  EXPECT_EQ(Picture(), "F FAILURE");
  EXPECT_EQ(Of("a").why.at(0).code, StatusCode::kDeadlineExceeded);
}

TEST_F(PullRulesTest, SlowNodesBeyondWhatIsToleratedKeepTheRestFromStarting) {
  Online("abcd");
  Add("abcd", "0.25", 2);
  jobs_.Tick(kNow);
  EXPECT_EQ(Picture(), "rr.. PENDING");
  jobs_.Tick(kNow + seconds(100));
  EXPECT_EQ(Picture(), "FFFF FAILURE");
  EXPECT_THAT(WhyOf("d"), HasSubstr("not tried: 2 of 4 nodes failed"));
}

TEST_F(PullRulesTest, OfflineNodeTakesNoSlotAndMayComeLater) {
  Online("b");
  Add("ab", "0", 1);
  EXPECT_EQ(Picture(), ".r PENDING");
  Done("b", kNow + seconds(90));
  jobs_.Tick(kNow + seconds(90));
  jobs_.Tick(kNow + seconds(189));
  EXPECT_EQ(Picture(), ".D PENDING");  // 100 s after the last reachable one ended
  Online("a");
  EXPECT_EQ(Picture(), "rD PENDING");
  Done("a", kNow + seconds(190));
  EXPECT_EQ(Picture(), "DD SUCCESS");
}

TEST_F(PullRulesTest, OfflineNodeFailsAsSuchWhenItsTimeIsUp) {
  Online("b");
  Add("ab", "0.5", 1);
  Done("b", kNow + seconds(90));
  jobs_.Tick(kNow + seconds(90));
  jobs_.Tick(kNow + seconds(190));
  EXPECT_EQ(Picture(), "FD SUCCESS");
  EXPECT_THAT(WhyOf("a"), HasSubstr("offline"));
}

TEST_F(PullRulesTest, NodeThatDiesInItsTurnIsWaitedForUntilItsTimeIsUp) {
  Online("a");
  Add("a", "0");
  jobs_.Tick(kNow);
  jobs_.Offline("a");
  jobs_.Tick(kNow + seconds(99));
  EXPECT_EQ(Picture(), "r PENDING");
  jobs_.Tick(kNow + seconds(100));
  EXPECT_EQ(Picture(), "F FAILURE");
}

}  // namespace
}  // namespace hearth::manager
