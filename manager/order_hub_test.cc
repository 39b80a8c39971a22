#include "manager/order_hub.h"

#include <gmock/gmock.h>

#include "base/raw_digest.h"
#include "hearth/v1/orders.pb.h"
#include "manager/job_scope.h"
#include "manager/manager_for_test.h"
#include "manager/order_messages.h"

namespace hearth::manager {
namespace {

using std::chrono::minutes;
using testing::HasSubstr;

class FakeOrderLink final : public OrderLink {
 public:
  void Send(const v1::OrdersToNode& message) override { sent.push_back(message); }
  void Close(const Status& why) override { closed = why; }
  const v1::Order* LastOrder() const {
    for (auto message = sent.rbegin(); message != sent.rend(); ++message) {
      if (message->has_order()) return &message->order();
    }
    return nullptr;
  }
  bool Settled() const {
    return std::ranges::any_of(sent, [](const auto& message) { return message.has_settled(); });
  }

  std::vector<v1::OrdersToNode> sent;
  std::optional<Status> closed;
};

// Fails writes while it is told to.
class FullKv final : public kv::Kv {
 public:
  explicit FullKv(kv::Kv& kv) : kv_(kv) {}
  Result<std::string> Get(kv::Family family, std::string_view key) const override {
    return kv_.Get(family, key);
  }
  Status Write(const kv::Batch& batch, kv::Sync sync) override {
    return full ? ResourceExhausted("no space left") : kv_.Write(batch, sync);
  }
  Status Scan(kv::Family family, std::string_view prefix,
              const std::function<bool(std::string_view, std::string_view)>& visit) const override {
    return kv_.Scan(family, prefix, visit);
  }
  bool full = false;

 private:
  kv::Kv& kv_;
};

class OrderHubTest : public ManagerTest {
 protected:
  static constexpr size_t kMaxJobs = 8;
  OrderHubTest() { Restart(); }
  void Restart() {
    hub_.reset();
    links_.clear();
    sealer_ = Sealer::Open(root_ / "secrets.key", true).value();
    hub_ = OrderHub::Open({.fleet = *fleet_,
                           .store = store_,
                           .sealer = *sealer_,
                           .clock = clock_,
                           .max_jobs = kMaxJobs})
               .value();
  }
  FakeOrderLink& Connect(const Member& node) {
    v1::OrdersHello hello;
    hello.mutable_versions()->set_protocol_min(1);
    hello.mutable_versions()->set_protocol_max(1);
    auto link = std::make_shared<FakeOrderLink>();
    sessions_[node.name] = hub_->Open(node.Peer(), hello, link).value();
    links_[node.name] = link;
    return *link;
  }
  JobId Create(JobRequest request = Request(), const OrderHub::Origin& origin = {}) {
    return hub_->Create(request, origin).value();
  }
  static JobRequest Request() {
    JobRequest request;
    JobItem& item = request.spec.items.emplace_back();
    item.url = "https://r.example/v2/a/manifests/v";
    item.reference = "r.example/a:v";
    item.base_url = "https://r.example/v2/a";
    item.plain_http = false;
    return request;
  }
  Status Report(const Member& node, JobId id, StatusCode code = StatusCode::kOk,
                uint32_t attempt = 1) {
    v1::OrdersFromNode message;
    v1::OrderReport& report = *message.mutable_report();
    *report.mutable_order() = MakeOrderId(Read(id), attempt);
    v1::ItemOutcome& item = *report.add_items();
    item.set_code(static_cast<uint32_t>(code));
    item.set_message(code == StatusCode::kOk ? "" : "because");
    for (const auto kind : {v1::Copy::MANIFEST, v1::Copy::BLOB}) {
      v1::Copy& copy = *item.add_copies();
      copy.set_kind(kind);
      copy.set_digest(ToRaw(Digest::Of(std::to_string(kind))));
      copy.set_size_bytes(7);
    }
    return hub_->Receive(sessions_[node.name], message);
  }
  Result<std::vector<JobId>> CreateNamed(const std::vector<std::string>& names) {
    std::vector<OrderHub::NewJob> jobs;
    for (const std::string& name : names) {
      OrderHub::NewJob& job = jobs.emplace_back();
      job.job.name = name;
      job.job.spec = Request().spec;
      for (const Node& node : fleet_->List()) job.job.targets.push_back(TargetFor(node));
    }
    return hub_->CreateNamed(std::move(jobs));
  }
  Job Read(JobId id) {
    Job out;
    EXPECT_EQ(hub_->Read(id, [&](const Job& job) { out = job; }), OkStatus());
    return out;
  }

  FullKv full_{*kv_};
  JobStore store_{full_};
  std::unique_ptr<Sealer> sealer_;
  std::unique_ptr<OrderHub> hub_;
  std::map<std::string, OrderHub::SessionId> sessions_;
  std::map<std::string, std::shared_ptr<FakeOrderLink>> links_;
};

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
  EXPECT_EQ(hub_->List({}, 1, 10).heads.at(0).state, JobState::kPending);
  full_.full = false;
  hub_->Tick();
  EXPECT_TRUE(link.Settled());
  Restart();
  EXPECT_EQ(Read(id).state, JobState::kSuccess);
}

TEST_F(OrderHubTest, AnEndThatIsNotWrittenDownIsPendingInTheListOfPullJobsToo) {
  const Member node = JoinNode("n1");
  Connect(node);
  const JobId id = CreateNamed({"nightly"}).value().front();
  full_.full = true;
  EXPECT_EQ(Report(node, id), OkStatus());
  hub_->ForNamed([](const Job& job) { EXPECT_EQ(job.state, JobState::kPending); });
  full_.full = false;
  hub_->Tick();
  hub_->ForNamed([](const Job& job) { EXPECT_EQ(job.state, JobState::kSuccess); });
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
  EXPECT_EQ(hub_->List({}, 1, 10).total, 1u);
  full_.full = true;
  EXPECT_FALSE(CreateNamed({"a", "c"}).ok());
  full_.full = false;
  Restart();
  EXPECT_EQ(hub_->List({}, 1, 10).total, 1u);
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
    EXPECT_EQ(hub_->List({}, 1, 10).heads.at(0).spec.ips.size(), 64u);
    EXPECT_EQ(hub_->List({}, 1, 10).heads.at(0).sealed, "");
    EXPECT_EQ(hub_->List({}, 1, 10).heads.at(0).bio, "bio " + std::to_string(start));
    EXPECT_EQ(Read(id).spec.ips.size(), 100u);
    EXPECT_NE(Read(id).sealed, "");
    Restart();
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
    for (const Job& job : hub_->List(state, page, 2).heads) out.push_back(job.id);
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
