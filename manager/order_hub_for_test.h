// An OrderHub over a store in memory that can be full, and nodes' order streams, for tests.
#pragma once

#include <gmock/gmock.h>

#include <algorithm>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/raw_digest.h"
#include "hearth/v1/orders.pb.h"
#include "manager/job_scope.h"
#include "manager/manager_for_test.h"
#include "manager/order_hub.h"
#include "manager/order_messages.h"

namespace hearth::manager {

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

// Fails writes while it is told to, and lets a test do something in the midst of a read.
class FullKv final : public kv::Kv {
 public:
  explicit FullKv(kv::Kv& kv) : kv_(kv) {}
  Result<std::string> Get(kv::Family family, std::string_view key) const override {
    return kv_.Get(family, key);
  }
  Status Write(const kv::Batch& batch, kv::Sync sync) override {
    return full ? ResourceExhausted("no space left") : kv_.Write(batch, sync);
  }
  Status ScanAfter(kv::Family family, std::string_view prefix, std::string_view after,
                   const Visit& visit) const override {
    if (before_scan && prefix.starts_with(scan_of)) std::exchange(before_scan, nullptr)();
    return kv_.ScanAfter(family, prefix, after, visit);
  }
  bool full = false;
  // Once, before the next scan of keys that begin so.
  std::string scan_of;
  mutable std::function<void()> before_scan;

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
                           .max_jobs = max_jobs_})
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
    std::vector<NewJob> jobs;
    for (const std::string& name : names) {
      NewJob& job = jobs.emplace_back();
      job.job.name = name;
      job.job.spec = Request().spec;
      job.choose = [](const std::vector<Node>& nodes) {
        std::vector<Target> targets;
        for (const Node& node : nodes) targets.push_back(TargetFor(node));
        return targets;
      };
    }
    return hub_->CreateNamed(std::move(jobs));
  }
  Job Read(JobId id) {
    Job out;
    EXPECT_EQ(hub_->Read(id, [&](const Job& job) { out = job; }), OkStatus());
    return out;
  }

  size_t max_jobs_ = kMaxJobs;
  FullKv full_{*kv_};
  JobStore store_{full_};
  std::unique_ptr<Sealer> sealer_;
  std::unique_ptr<OrderHub> hub_;
  std::map<std::string, OrderHub::SessionId> sessions_;
  std::map<std::string, std::shared_ptr<FakeOrderLink>> links_;
};

}  // namespace hearth::manager
