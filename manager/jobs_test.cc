#include "manager/jobs.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace hearth::manager {
namespace {

using std::chrono::minutes;
using std::chrono::seconds;
using testing::HasSubstr;

constexpr WallTime kNow{seconds(1'700'000'000)};

class JobsTest : public ::testing::Test {
 protected:
  // A job for the nodes "a", "b", …, of one image each.
  Job Make(const std::string& nodes, JobSpec spec = {}) {
    Job job;
    job.id = next_id_++;
    job.created = kNow;
    job.spec = std::move(spec);
    if (job.spec.items.empty()) job.spec.items.emplace_back().url = "r/i:v";
    job.deadline = kNow + job.spec.timeout;
    for (const char name : nodes) job.targets.push_back(TargetOf(std::string(1, name)));
    return job;
  }
  static Target TargetOf(const std::string& name) {
    Target target;
    target.node_id = target.name = name;
    return target;
  }
  JobId Add(const std::string& nodes, JobSpec spec = {}) {
    Job job = Make(nodes, std::move(spec));
    EXPECT_EQ(jobs_.Add(job), OkStatus());
    return job.id;
  }
  static std::vector<ItemOutcome> Warm() {
    ItemOutcome item;
    item.copies.emplace_back().url = "https://r/v2/i/blobs/1";
    return {item};
  }
  static std::vector<ItemOutcome> Failed(Status status) { return {{.status = std::move(status)}}; }
  void Report(const std::string& node, JobId id, const std::vector<ItemOutcome>& items,
              uint32_t attempt = 1, WallTime now = kNow) {
    jobs_.Report(node, id, attempt, items, now);
  }

  static JobSpec Concurrency(uint32_t nodes) {
    JobSpec spec;
    spec.concurrency = nodes;
    return spec;
  }
  static JobSpec Retries(uint32_t retries) {
    JobSpec spec;
    spec.retries = retries;
    return spec;
  }
  static JobSpec Tolerate(const char* share) {
    JobSpec spec;
    spec.failure_tolerate = FailureTolerance::Parse(share).value();
    return spec;
  }

  // One letter a target: waiting ".", running "r", done "D", failed "F".
  std::string Picture(JobId id) const {
    std::string picture;
    for (const Target& target : jobs_.Find(id)->targets) {
      picture += ".rDF"[static_cast<size_t>(target.state)];
    }
    return picture;
  }
  // "send a", "cancel a", "save a", "end SUCCESS", since the last call.
  std::vector<std::string> Said() {
    std::vector<std::string> said;
    for (const JobAction& action : jobs_.Take()) {
      const Job* job = jobs_.Find(action.job);
      switch (action.kind) {
        case JobAction::Kind::kSend:
          said.push_back("send " + job->targets[action.target].name);
          break;
        case JobAction::Kind::kCancel:
          said.push_back("cancel " + action.node_id);
          break;
        case JobAction::Kind::kSaveTarget:
          said.push_back("save " + job->targets[action.target].name);
          break;
        case JobAction::Kind::kSaveJob:
          said.push_back("end " + std::string(JobStateName(job->state)));
          break;
        case JobAction::Kind::kShow:
          said.push_back("show");
          break;
      }
    }
    return said;
  }
  using Words = std::vector<std::string>;

  Jobs jobs_;
  JobId next_id_ = 1;
};

TEST_F(JobsTest, SucceedsWhenEveryNodeHasReportedEveryCopy) {
  jobs_.Online("a");
  jobs_.Online("b");
  const JobId id = Add("ab");
  EXPECT_EQ(Said(), (Words{"send a", "send b"}));
  Report("a", id, Warm());
  EXPECT_EQ(Picture(id), "Dr");
  EXPECT_EQ(jobs_.Find(id)->state, JobState::kPending);
  Report("b", id, Warm());
  EXPECT_EQ(Said(), (Words{"save a", "save b", "end SUCCESS"}));
  EXPECT_EQ(jobs_.Find(id)->tasks.size(), 1u);  // the same URL on both
}

TEST_F(JobsTest, AHigherPriorityIsSentFirstWhereANodeHasNoPlaceForAll) {
  const JobSpec low;
  JobSpec high;
  high.priority = 7;
  for (size_t i = 0; i < Jobs::kMaxOrdersPerNode; ++i) (void)Add("a");
  jobs_.Online("a");
  (void)jobs_.Take();
  const JobId later = Add("a", low);
  const JobId first = Add("a", high);
  EXPECT_EQ(Said(), Words{});
  Report("a", 1, Warm());
  EXPECT_EQ(Picture(first), "r");
  EXPECT_EQ(Picture(later), ".");
  Report("a", 2, Warm());
  EXPECT_EQ(Picture(later), "r");
}

TEST_F(JobsTest, ADrainedNodeEndsItsShareAndGivesItsSlotToTheNext) {
  jobs_.Online("a");
  jobs_.Online("b");
  const JobId id = Add("ab", Concurrency(1));
  (void)Said();
  jobs_.Drain("a", Aborted("drained"), kNow);
  EXPECT_EQ(Picture(id), "Fr");
  EXPECT_EQ(Said(), (Words{"cancel a", "save a", "send b"}));
  EXPECT_EQ(jobs_.Find(id)->targets[0].why.front().message, "drained");
}

TEST_F(JobsTest, IsNoSuccessForBeingSent) {
  jobs_.Online("a");
  const JobId id = Add("a");
  jobs_.Progress("a", id, 1, {.done = 10, .total = 10}, kNow);
  jobs_.Tick(kNow + minutes(59));
  EXPECT_EQ(jobs_.Find(id)->state, JobState::kPending);
  EXPECT_EQ(CountsOf(*jobs_.Find(id)).bytes.done, 10u);
}

TEST_F(JobsTest, AReportThatDoesNotAnswerEachItemOrNamesNoCopyIsAFailure) {
  jobs_.Online("a");
  for (const auto& items : {std::vector<ItemOutcome>{}, std::vector<ItemOutcome>(2, Warm().front()),
                            std::vector<ItemOutcome>{{.status = OkStatus()}}}) {
    const JobId id = Add("a");
    Report("a", id, items);
    EXPECT_EQ(jobs_.Find(id)->state, JobState::kFailure);
  }
}

TEST_F(JobsTest, AnOfflineNodeWaitsUntilTheDeadlineAndThenFailsAsOffline) {
  jobs_.Online("a");
  const JobId id = Add("ab");
  Report("a", id, Warm());
  jobs_.Tick(kNow + minutes(60) - seconds(1));
  EXPECT_EQ(Picture(id), "D.");
  jobs_.Tick(kNow + minutes(60));
  EXPECT_EQ(Picture(id), "DF");
  EXPECT_EQ(jobs_.Find(id)->state, JobState::kFailure);
  EXPECT_THAT(jobs_.Find(id)->reason, HasSubstr("1 of 2 nodes failed; b: offline"));
}

TEST_F(JobsTest, ANodeThatAppearsIsServedAndTakesNoSlotBefore) {
  jobs_.Online("b");
  const JobId id = Add("ab", Concurrency(1));
  EXPECT_EQ(Said(), Words{"send b"});
  jobs_.Online("a");
  EXPECT_EQ(Said(), Words{});
  Report("b", id, Warm());
  EXPECT_EQ(Said(), (Words{"save b", "send a"}));
}

TEST_F(JobsTest, ANodeThatLeavesFreesItsSlotAndGetsItsOrderAgain) {
  jobs_.Online("a");
  jobs_.Online("b");
  const JobId id = Add("ab", Concurrency(1));
  EXPECT_EQ(Said(), Words{"send a"});
  jobs_.Offline("a");
  EXPECT_EQ(Said(), Words{"send b"});
  EXPECT_EQ(jobs_.Wanted("a"), (std::vector<std::pair<JobId, uint32_t>>{{id, 1}}));
  jobs_.Online("a");
  EXPECT_EQ(Said(), Words{"send a"});
  EXPECT_EQ(Picture(id), "rr");
}

TEST_F(JobsTest, AReportCountsThoughTheOrderWasNotSentSinceTheRestart) {
  const JobId id = Add("a");
  Report("a", id, Warm());
  EXPECT_EQ(Said(), (Words{"save a", "end SUCCESS"}));
  EXPECT_EQ(jobs_.Find(id)->state, JobState::kSuccess);
}

TEST_F(JobsTest, TriesAgainLaterAndLaterWithANewNumber) {
  jobs_.Online("a");
  const JobId id = Add("a", Retries(2));
  Report("a", id, Failed(Unavailable("registry")));
  EXPECT_EQ(Picture(id), ".");
  jobs_.Tick(kNow + Jobs::kFirstRetry - seconds(1));
  EXPECT_EQ(Picture(id), ".");
  jobs_.Tick(kNow + Jobs::kFirstRetry);
  EXPECT_EQ(Picture(id), "r");
  Report("a", id, Warm(), 1);  // of the attempt before
  EXPECT_EQ(Picture(id), "r");
  Report("a", id, Failed(Unavailable("registry")), 2, kNow + seconds(10));
  jobs_.Tick(kNow + seconds(10) + Jobs::kFirstRetry);
  EXPECT_EQ(Picture(id), ".");
  jobs_.Tick(kNow + seconds(10) + 2 * Jobs::kFirstRetry);
  Report("a", id, Failed(Unavailable("registry is down")), 3);
  EXPECT_EQ(Picture(id), "F");
  EXPECT_THAT(jobs_.Find(id)->reason, HasSubstr("registry is down"));
}

TEST_F(JobsTest, WhatNoRetryMendsIsNotTriedAgain) {
  jobs_.Online("a");
  const JobId id = Add("a", Retries(5));
  Report("a", id, Failed(InvalidArgument("no such platform")));
  EXPECT_EQ(jobs_.Find(id)->state, JobState::kFailure);
}

TEST_F(JobsTest, ToleratesTheShareThatWasAskedForExactly) {
  const auto state_with = [&](const char* tolerate) {
    for (const char* node : {"a", "b", "c"}) jobs_.Online(node);
    const JobId id = Add("abc", Tolerate(tolerate));
    Report("a", id, Failed(NotFound("x")));
    Report("b", id, Warm());
    Report("c", id, Warm());
    return jobs_.Find(id)->state;
  };
  EXPECT_EQ(state_with("0"), JobState::kFailure);
  EXPECT_EQ(state_with("33%"), JobState::kFailure);
  EXPECT_EQ(state_with("0.34"), JobState::kSuccess);
}

TEST_F(JobsTest, NobodyWarmIsNoSuccessWhateverIsTolerated) {
  jobs_.Online("a");
  const JobId id = Add("a", Tolerate("1"));
  Report("a", id, Failed(NotFound("x")));
  EXPECT_EQ(jobs_.Find(id)->state, JobState::kFailure);
}

TEST_F(JobsTest, ACancelReachesWhatRunsAndKeepsWhatIsDone) {
  for (const char* node : {"a", "b"}) jobs_.Online(node);
  const JobId id = Add("abc");
  Report("a", id, Warm());
  (void)Said();
  EXPECT_EQ(jobs_.Abort(id, Cancelled("x"), kNow), OkStatus());
  EXPECT_EQ(Said(), (Words{"cancel b", "save b", "save c", "end FAILURE"}));
  EXPECT_EQ(Picture(id), "DFF");
  EXPECT_EQ(jobs_.Find(id)->reason, "cancelled");
  EXPECT_EQ(jobs_.Abort(id, Cancelled("x"), kNow).code(), StatusCode::kNotFound);
}

TEST_F(JobsTest, ARemovedJobsOrdersAreCancelled) {
  jobs_.Online("a");
  const JobId id = Add("a");
  (void)Said();
  jobs_.Remove(id);
  EXPECT_EQ(Said(), Words{"cancel a"});
  EXPECT_EQ(jobs_.Find(id), nullptr);
  Report("a", id, Warm());  // late
}

TEST_F(JobsTest, ANodeThatIsLostFailsAtOnce) {
  jobs_.Online("a");
  const JobId id = Add("ab");
  jobs_.Lost("a", PermissionDenied("banned"), kNow);
  EXPECT_EQ(Picture(id), "F.");
  EXPECT_EQ(jobs_.Find(id)->targets[0].why.front().message, "banned");
}

TEST_F(JobsTest, ANodeHasSoManyOrdersAtOnceAndTheNextWhenOneIsDone) {
  jobs_.Online("a");
  for (size_t i = 0; i <= Jobs::kMaxOrdersPerNode; ++i) (void)Add("a");
  const JobId last = next_id_ - 1;
  EXPECT_EQ(Picture(last), ".");
  Report("a", 1, Warm());
  EXPECT_EQ(Picture(last), "r");
}

TEST_F(JobsTest, ARetryOfTheFailedPartLeavesTheRestAlone) {
  jobs_.Online("a");
  jobs_.Online("b");
  const JobId id = Add("ab");
  Report("a", id, Warm());
  Report("b", id, Failed(NotFound("x")));
  (void)Said();
  const Job again = RetryOf(*jobs_.Find(id), {TargetOf("a"), TargetOf("b")}, kNow + minutes(5));
  jobs_.Remove(id);
  (void)Said();
  EXPECT_EQ(jobs_.Add(again), OkStatus());
  EXPECT_EQ(Said(), Words{"send b"});
  EXPECT_EQ(jobs_.Find(id)->deadline, kNow + minutes(65));
  Report("b", id, Warm(), 1);  // the answer of before
  EXPECT_EQ(Picture(id), "Dr");
  Report("b", id, Warm(), 2);
  EXPECT_EQ(jobs_.Find(id)->state, JobState::kSuccess);
}

// Its disk was replaced, or it had not joined yet when a pull job named it.
TEST_F(JobsTest, ARetryAsksTheNodeThatHasTheNameNowAndNobodyWhoIsGone) {
  Job job;
  for (const char* name : {"anew", "gone", "first", "other"}) {
    job.targets.push_back(TargetOf(name));
    job.targets.back().state = TargetState::kFailed;
  }
  for (Target& target : job.targets) target.node_id = "old " + target.name;
  for (Target& target : job.targets) target.cluster = "c";
  job.targets[2].node_id = job.targets[2].cluster = "";  // nobody had that name
  std::vector<Target> nodes = {TargetOf("anew"), TargetOf("first"), TargetOf("other")};
  for (Target& node : nodes) node.cluster = node.name == "other" ? "another" : "c";
  const Job again = RetryOf(job, nodes, kNow);
  std::vector<std::string> asked;
  for (const Target& target : again.targets) {
    if (target.state == TargetState::kWaiting) asked.push_back(target.node_id);
  }
  EXPECT_THAT(asked, testing::ElementsAre("anew", "first"));
  EXPECT_EQ(again.targets[2].cluster, "c");
}

}  // namespace
}  // namespace hearth::manager
