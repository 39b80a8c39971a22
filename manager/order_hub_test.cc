#include "manager/order_hub.h"

#include <atomic>
#include <future>
#include <thread>

#include "manager/order_hub_for_test.h"

namespace hearth::manager {
namespace {

using std::chrono::minutes;
using testing::HasSubstr;

TEST_F(OrderHubTest, AnOrderGoesOutAndItsReportIsSettled) {
  const Member node = JoinNode("n1");
  FakeOrderLink& link = Connect(node);
  EXPECT_TRUE(link.sent.front().has_welcome());
  JobRequest request = Request();
  request.secrets = {.urls = {}, .username = "joe", .password = "s3cret", .headers = {}};
  const JobId id = Create(request);
  ASSERT_NE(link.LastOrder(), nullptr);
  EXPECT_EQ(link.LastOrder()->items(0).image(), "r.example/a:v");
  EXPECT_EQ(link.LastOrder()->password(), "s3cret");
  EXPECT_EQ(link.LastOrder()->expires_in_milliseconds(), 3'600'000u);
  EXPECT_EQ(Report(node, id), OkStatus());
  EXPECT_TRUE(link.Settled());
  const Job job = Read(id);
  EXPECT_EQ(job.state, JobState::kSuccess);
  ASSERT_EQ(job.tasks.size(), 2u);
  EXPECT_EQ(job.tasks[0].url, "https://r.example/v2/a/manifests/" +
                                  Digest::Of(std::to_string(v1::Copy::MANIFEST)).ToString());
  EXPECT_THAT(job.tasks[1].url, HasSubstr("/v2/a/blobs/sha256:"));
}

TEST_F(OrderHubTest, ARestartLosesNeitherWhatIsDoneNorWhatIsOpen) {
  const Member a = JoinNode("a");
  const Member b = JoinNode("b");
  Connect(a);
  JobRequest request = Request();
  request.secrets = {.urls = {}, .username = "joe", .password = "s3cret", .headers = {}};
  const JobId id = Create(request);
  EXPECT_EQ(Report(a, id), OkStatus());
  Restart();
  EXPECT_EQ(Read(id).state, JobState::kPending);
  EXPECT_EQ(Read(id).targets[0].state, TargetState::kDone);
  EXPECT_EQ(Connect(a).LastOrder(), nullptr);
  EXPECT_EQ(Connect(b).LastOrder()->password(), "s3cret");
  EXPECT_EQ(Report(b, id), OkStatus());
  EXPECT_EQ(Read(id).state, JobState::kSuccess);
  Restart();
  EXPECT_EQ(Read(id).state, JobState::kSuccess);
  EXPECT_EQ(Read(id).targets[1].copies.size(), 2u);
}

TEST_F(OrderHubTest, AStartWithANewKeyFirstSealsWhatIsKeptAnewSoThatTheOldOneMayGo) {
  const auto with = [&](const std::string& keys) {
    CHECK(WriteFileAtomically(root_ / "secrets.key", keys, 0600).ok());
    Restart();
  };
  const std::string old_key(64, 'a');
  const std::string new_key(64, 'b');
  with(old_key);
  const Member node = JoinNode("n1");
  Connect(node);
  JobRequest request = Request();
  request.secrets = {.urls = {}, .username = "joe", .password = "s3cret", .headers = {}};
  const JobId failed = Create(request);
  EXPECT_EQ(Report(node, failed, StatusCode::kInvalidArgument), OkStatus());
  const JobId open = Create(request);
  with(new_key + "\n" + old_key);
  with(new_key);
  const v1::Order* order = Connect(node).LastOrder();
  ASSERT_NE(order, nullptr);
  EXPECT_EQ(order->password(), "s3cret");
  EXPECT_EQ(Report(node, open), OkStatus());
  EXPECT_EQ(Read(open).state, JobState::kSuccess);
  EXPECT_EQ(hub_->Retry(failed), OkStatus());
  EXPECT_EQ(links_["n1"]->LastOrder()->password(), "s3cret");
}

TEST_F(OrderHubTest, TheDeadlineIsTheCreationsAlsoAfterARestart) {
  const Member node = JoinNode("n1");
  const JobId id = Create();
  clock_.Advance(minutes(59));
  Restart();
  hub_->Tick();
  EXPECT_EQ(Read(id).state, JobState::kPending);
  clock_.Advance(minutes(1));
  hub_->Tick();
  EXPECT_EQ(Read(id).state, JobState::kFailure);
  EXPECT_THAT(Read(id).reason, HasSubstr("offline"));
}

// The job is made by a thread that waits for the hub while the node is cordoned.
TEST_F(OrderHubTest, ANodeThatIsCordonedWhileAJobIsMadeDoesNotGetIt) {
  const Member gone = JoinNode("gone");
  const Member stays = JoinNode("stays");
  FakeOrderLink& left_out = Connect(gone);
  Connect(stays);
  const JobId held = Create();
  for (const Member* node : {&gone, &stays}) EXPECT_EQ(Report(*node, held), OkStatus());
  for (int round = 0; round < 10; ++round) {
    EXPECT_EQ(fleet_->SetCordon(gone.id, false, ""), OkStatus());
    const size_t sent = left_out.sent.size();
    const JobId open = CreateNamed({"open" + std::to_string(round)}).value().front();
    ASSERT_EQ(left_out.sent.size(), sent + 1);
    std::atomic<bool> started = false;
    std::future<JobId> made;
    EXPECT_EQ(hub_->Read(open,
                         [&](const Job&) {
                           made = std::async(std::launch::async, [&] {
                             started = true;
                             started.notify_one();
                             return Create();
                           });
                           started.wait(false);
                           // Long enough for it to come to the lock; were it not, nothing fails.
                           const Deadline soon = Deadline::After(std::chrono::milliseconds(2));
                           while (!soon.Passed()) continue;
                           // As Cordon() does it, under the hub's lock.
                           EXPECT_EQ(fleet_->SetCordon(gone.id, true, "disk"), OkStatus());
                         }),
              OkStatus());
    const JobId id = made.get();
    EXPECT_EQ(left_out.sent.size(), sent + 1) << "after it was cordoned";
    EXPECT_EQ(Read(id).targets.size(), 1u);
    for (const JobId one : {open, id}) EXPECT_EQ(hub_->Remove(one), OkStatus());
  }
}

TEST_F(OrderHubTest, ProgressThatCountsForNothingIsNoChange) {
  const Member node = JoinNode("n1");
  Connect(node);
  const JobId id = Create();
  v1::OrdersFromNode message;
  *message.mutable_progress()->mutable_order() = MakeOrderId(Read(id), 1);
  message.mutable_progress()->set_bytes_done(7);
  const auto changes = [&] {
    const JobFeed::Revision before = hub_->feed().Of(id);
    EXPECT_EQ(hub_->Receive(sessions_["n1"], message), OkStatus());
    return hub_->feed().Of(id) != before;
  };
  EXPECT_TRUE(changes());
  EXPECT_FALSE(changes()) << "nothing new";
  message.mutable_progress()->set_bytes_done(9);
  EXPECT_TRUE(changes());
  message.mutable_progress()->set_bytes_done(11);
  message.mutable_progress()->mutable_order()->set_attempt(2);
  EXPECT_FALSE(changes()) << "of another attempt";
  message.mutable_progress()->mutable_order()->set_attempt(1);
  message.mutable_progress()->mutable_order()->set_job_uid("another job's");
  EXPECT_FALSE(changes());
}

TEST_F(OrderHubTest, NothingIsSettledThatIsNotWrittenDown) {
  const Member node = JoinNode("n1");
  FakeOrderLink& link = Connect(node);
  const JobId id = Create();
  full_.full = true;
  EXPECT_EQ(Report(node, id), OkStatus());
  EXPECT_FALSE(link.Settled());
  EXPECT_EQ(Report(node, id), OkStatus());
  EXPECT_FALSE(link.Settled());
  EXPECT_EQ(Read(id).state, JobState::kPending);
  EXPECT_FALSE(hub_->Create(Request(), {}).ok());
  // The same in each view.
  EXPECT_EQ(hub_->List({}, 1, 10)->heads.at(0).state, JobState::kPending);
  full_.full = false;
  hub_->Tick();
  EXPECT_TRUE(link.Settled());
  Restart();
  EXPECT_EQ(Read(id).state, JobState::kSuccess);
}

TEST_F(OrderHubTest, ABioThatWasRefusedIsNotShown) {
  JoinNode("n1");
  const JobId id = Create();
  full_.full = true;
  EXPECT_FALSE(hub_->SetBio(id, "new").ok());
  EXPECT_EQ(Read(id).bio, "");
  full_.full = false;
  hub_->Tick();
  EXPECT_EQ(Read(id).bio, "");
  EXPECT_EQ(hub_->SetBio(id, "new"), OkStatus());
  Restart();
  EXPECT_EQ(Read(id).bio, "new");
}

TEST_F(OrderHubTest, AnEndThatIsNotWrittenDownIsPendingInTheListOfPullJobsToo) {
  const Member node = JoinNode("n1");
  Connect(node);
  const JobId id = CreateNamed({"nightly"}).value().front();
  full_.full = true;
  EXPECT_EQ(Report(node, id), OkStatus());
  EXPECT_EQ(hub_->ListNamed(1, 10)->heads.at(0).first.state, JobState::kPending);
  full_.full = false;
  hub_->Tick();
  EXPECT_EQ(hub_->ListNamed(1, 10)->heads.at(0).first.state, JobState::kSuccess);
}

TEST_F(OrderHubTest, AReportOfAnotherJobWithThatNumberSettlesNothing) {
  const Member node = JoinNode("n1");
  FakeOrderLink& link = Connect(node);
  const JobId id = Create();
  Job other = Read(id);
  other.task_id = "group_of-before-the-restore";
  v1::OrdersFromNode message;
  *message.mutable_report()->mutable_order() = MakeOrderId(other, 1);
  message.mutable_report()->add_items()->add_copies()->set_digest(
      ToRaw(Digest::Of("of another job")));
  EXPECT_EQ(hub_->Receive(sessions_["n1"], message), OkStatus());
  EXPECT_TRUE(link.Settled());  // the node may forget it
  EXPECT_EQ(Read(id).targets[0].state, TargetState::kRunning);
  EXPECT_EQ(link.LastOrder()->id().job_uid(), Read(id).task_id);
}

TEST_F(OrderHubTest, PullJobsOfOneRequestBeginTogetherOrNotAtAll) {
  const Member node = JoinNode("n1");
  ASSERT_TRUE(CreateNamed({"b"}).ok());
  EXPECT_EQ(CreateNamed({"a", "b", "c"}).status().code(), StatusCode::kAlreadyExists);
  EXPECT_EQ(hub_->List({}, 1, 10)->total, 1u);
  full_.full = true;
  EXPECT_FALSE(CreateNamed({"a", "c"}).ok());
  full_.full = false;
  Restart();
  EXPECT_EQ(hub_->List({}, 1, 10)->total, 1u);
  EXPECT_EQ(CreateNamed({"a", "c"}).value().size(), 2u);
}

TEST_F(OrderHubTest, WhatWasChangedLongestAgoMakesRoomAndNotTheLowestNumber) {
  const Member node = JoinNode("n1");
  Connect(node);
  for (JobId id = 1; id <= kMaxJobs; ++id) {
    clock_.Advance(minutes(1));
    EXPECT_EQ(Create(), id);
    EXPECT_EQ(Report(node, id, id == 1 ? StatusCode::kNotFound : StatusCode::kOk), OkStatus());
  }
  clock_.Advance(minutes(1));
  EXPECT_EQ(hub_->Retry(1), OkStatus());
  EXPECT_EQ(Report(node, 1, StatusCode::kOk, 2), OkStatus());
  (void)Create();
  EXPECT_EQ(Read(1).state, JobState::kSuccess);
  EXPECT_EQ(hub_->Read(2, [](const Job&) {}).code(), StatusCode::kNotFound);
}

TEST_F(OrderHubTest, NoSecretIsInTheStore) {
  const Member node = JoinNode("n1");
  JobRequest request = Request();
  request.secrets = {.urls = {"https://h/f?Signature=SIGNED"},
                     .username = "USERNAME",
                     .password = "PASSWORD",
                     .headers = {{"Authorization", "BEARER"}}};
  (void)Create(request);
  EXPECT_EQ(kv_->Scan(kv::Family::kOrders, "",
                      [](std::string_view, std::string_view value) {
                        for (const char* secret : {"SIGNED", "USERNAME", "PASSWORD", "BEARER"}) {
                          EXPECT_EQ(value.find(secret), std::string_view::npos) << value;
                        }
                        return true;
                      }),
            OkStatus());
}

TEST_F(OrderHubTest, AJobWhoseKeyIsGoneFailsAndSaysSo) {
  const Member node = JoinNode("n1");
  JobRequest request = Request();
  request.secrets.username = "joe";
  const JobId id = Create(request);
  CHECK(WriteFileAtomically(root_ / "secrets.key", std::string(64, 'a'), 0600).ok());
  Restart();
  EXPECT_EQ(Read(id).state, JobState::kFailure);
  EXPECT_THAT(Read(id).reason, HasSubstr("key"));
}

TEST_F(OrderHubTest, AKeyThatComesAgainMakesNoSecondJob) {
  const Member node = JoinNode("n1");
  const JobId id = Create(Request(), {"token/key", "sum"});
  EXPECT_EQ(Create(Request(), {"token/key", "sum"}), id);
  EXPECT_EQ(hub_->Create(Request(), {"token/key", "other"}).status().code(),
            StatusCode::kAlreadyExists);
  Restart();
  EXPECT_EQ(Create(Request(), {"token/key", "sum"}), id);
  EXPECT_NE(Create(Request(), {"token/key2", "sum"}), id);
}

TEST_F(OrderHubTest, CancelRetryAndRemove) {
  const Member node = JoinNode("n1");
  FakeOrderLink& link = Connect(node);
  const JobId id = Create();
  EXPECT_EQ(hub_->Retry(id).code(), StatusCode::kFailedPrecondition);
  EXPECT_EQ(hub_->Cancel(id), OkStatus());
  EXPECT_TRUE(link.sent.back().has_cancel());
  EXPECT_EQ(Read(id).state, JobState::kFailure);
  EXPECT_TRUE(Read(id).cancelled);
  EXPECT_EQ(hub_->Cancel(id).code(), StatusCode::kFailedPrecondition);
  EXPECT_EQ(hub_->Retry(id), OkStatus());
  EXPECT_EQ(link.LastOrder()->id().attempt(), 2u);
  EXPECT_EQ(Report(node, id, StatusCode::kOk, 2), OkStatus());
  EXPECT_EQ(Read(id).state, JobState::kSuccess);
  EXPECT_EQ(hub_->Retry(id).code(), StatusCode::kFailedPrecondition);
  EXPECT_EQ(hub_->Remove(id), OkStatus());
  for (const Status& gone : {hub_->Remove(id), hub_->Cancel(id), hub_->Retry(id),
                             hub_->SetBio(id, "x"), hub_->Read(id, [](const Job&) {})}) {
    EXPECT_EQ(gone.code(), StatusCode::kNotFound);
  }
  size_t left = 0;
  EXPECT_EQ(kv_->Scan(kv::Family::kOrders, "",
                      [&](std::string_view, std::string_view) { return ++left > 0; }),
            OkStatus());
  EXPECT_EQ(left, 0u);
}

// Ten thousand old jobs must not keep their lists of nodes and credentials in memory; the store
// does.
TEST_F(OrderHubTest, AnOldJobIsWholeInTheStoreAlsoAfterItsBioChanged) {
  const Member node = JoinNode("n1");
  Connect(node);
  JobRequest request = Request();
  request.secrets.username = "joe";
  request.spec.node_labels = {};
  for (int i = 0; i < 100; ++i) request.spec.ips.push_back("10.0.0.1");
  const JobId id = Create(request);
  EXPECT_EQ(Report(node, id), OkStatus());
  for (int start = 0; start < 2; ++start) {
    EXPECT_EQ(hub_->SetBio(id, "bio " + std::to_string(start)), OkStatus());
    EXPECT_EQ(hub_->List({}, 1, 10)->heads.at(0).spec.ips.size(), 64u);
    EXPECT_EQ(hub_->List({}, 1, 10)->heads.at(0).sealed, "");
    EXPECT_EQ(hub_->List({}, 1, 10)->heads.at(0).bio, "bio " + std::to_string(start));
    EXPECT_EQ(Read(id).spec.ips.size(), 100u);
    EXPECT_NE(Read(id).sealed, "");
    Restart();
  }
}

TEST_F(OrderHubTest, AnEndedJobThatIsResumedOrRemovedWhileItIsReadIsReadWhole) {
  const Member a = JoinNode("a");
  const Member b = JoinNode("b");
  Connect(a);
  Connect(b);
  for (const char* records : {"job_target/", "job_task/"}) {
    const JobId id = Create();
    EXPECT_EQ(Report(a, id), OkStatus());
    EXPECT_EQ(Report(b, id, StatusCode::kUnavailable), OkStatus());
    ASSERT_EQ(Read(id).state, JobState::kFailure);
    full_.scan_of = records;
    full_.before_scan = [&] { EXPECT_EQ(hub_->Retry(id), OkStatus()); };
    const Job resumed = Read(id);
    EXPECT_EQ(resumed.state, JobState::kPending) << records;
    EXPECT_EQ(resumed.targets.at(1).state, TargetState::kRunning) << records;
    EXPECT_EQ(Report(b, id, StatusCode::kUnavailable, 2), OkStatus());
    // Resumed and ended once more.
    full_.before_scan = [&] {
      EXPECT_EQ(hub_->Retry(id), OkStatus());
      EXPECT_EQ(Report(b, id, StatusCode::kOk, 3), OkStatus());
    };
    const Job ended = Read(id);
    EXPECT_EQ(ended.state, JobState::kSuccess) << records;
    EXPECT_EQ(ended.targets.at(1).state, TargetState::kDone) << records;
    full_.before_scan = [&] { EXPECT_EQ(hub_->Remove(id), OkStatus()); };
    const Status gone = hub_->Read(id, [](const Job&) {});
    EXPECT_EQ(gone.code(), StatusCode::kNotFound) << records << gone.message();
  }
}

TEST_F(OrderHubTest, RefusesWhoIsNoNodeOfOursAndEndsWhatIsBanned) {
  const Member node = JoinNode("n1");
  FakeOrderLink& link = Connect(node);
  const JobId id = Create();
  EXPECT_EQ(fleet_->SetBan(node.id, true, "accused"), OkStatus());
  hub_->Tick();
  EXPECT_EQ(link.closed->code(), StatusCode::kPermissionDenied);
  EXPECT_THAT(Read(id).reason, HasSubstr("accused"));
  v1::OrdersHello hello;
  hello.mutable_versions()->set_protocol_max(1);
  const auto open = [&](const Member& member) {
    return hub_->Open(member.Peer(), hello, std::make_shared<FakeOrderLink>()).status().code();
  };
  EXPECT_EQ(open(node), StatusCode::kPermissionDenied);
  EXPECT_EQ(fleet_->Forget(node.id), OkStatus());
  EXPECT_EQ(open(node), StatusCode::kNotFound);
  hello.mutable_versions()->set_protocol_min(9);
  hello.mutable_versions()->set_protocol_max(9);
  EXPECT_EQ(open(JoinNode("n2")), StatusCode::kFailedPrecondition);
}

TEST_F(OrderHubTest, WhatANodeSaysBeyondItsLimitsFailsTheItemAndNotTheStream) {
  const Member node = JoinNode("n1");
  FakeOrderLink& link = Connect(node);
  const JobId id = Create();
  v1::OrdersFromNode message;
  *message.mutable_report()->mutable_order() = MakeOrderId(Read(id), 1);
  message.mutable_report()->add_items()->add_copies()->set_digest("short");
  EXPECT_EQ(hub_->Receive(sessions_["n1"], message), OkStatus());
  EXPECT_TRUE(link.Settled());
  EXPECT_EQ(Read(id).state, JobState::kFailure);
  EXPECT_THAT(Read(id).reason, HasSubstr("32 bytes"));
}

TEST_F(OrderHubTest, ListsTheLatestFirstByStateAndPage) {
  const Member node = JoinNode("n1");
  for (int i = 0; i < 5; ++i) (void)Create();
  EXPECT_EQ(hub_->Cancel(2), OkStatus());
  const auto ids = [&](std::optional<JobState> state, size_t page) {
    std::vector<JobId> out;
    const auto found = hub_->List(state, page, 2).value();
    for (const Job& job : found.heads) out.push_back(job.id);
    return out;
  };
  EXPECT_EQ(ids({}, 1), (std::vector<JobId>{5, 4}));
  EXPECT_EQ(ids({}, 3), (std::vector<JobId>{1}));
  EXPECT_EQ(ids(JobState::kPending, 2), (std::vector<JobId>{3, 1}));
  EXPECT_EQ(ids(JobState::kFailure, 1), (std::vector<JobId>{2}));
}

TEST_F(OrderHubTest, AJobForNobodyIsRefused) {
  EXPECT_EQ(hub_->Create(Request(), {}).status().code(), StatusCode::kFailedPrecondition);
  const Member node = JoinNode("n1");
  JobRequest request = Request();
  request.spec.nodes = {"n2"};
  EXPECT_EQ(hub_->Create(request, {}).status().code(), StatusCode::kNotFound);
}

}  // namespace
}  // namespace hearth::manager
