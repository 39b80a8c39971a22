// A manager's parts in memory, and nodes that join it, for tests.
#pragma once

#include <gtest/gtest.h>
#include <stdlib.h>

#include <string>

#include "base/file.h"
#include "hearth/v1/enroll.pb.h"
#include "hearth/v1/tracker.pb.h"
#include "kv/kv.h"
#include "manager/cluster_ca.h"
#include "manager/enroll_service.h"
#include "manager/fleet.h"
#include "manager/throttle.h"
#include "manager/tokens.h"

namespace hearth::manager {

class ManagerTest : public ::testing::Test {
 protected:
  struct Member {
    net::PrivateKey key;
    std::string name;
    std::string chain;
    std::string id;
    net::GrpcTlsPeer Peer() const {
      auto certificate = net::Certificate::FromPem(chain).value();
      return {certificate.ReadIdentity().value(), certificate};
    }
  };

  ManagerTest() {
    std::string name = "/tmp/hearth-manager-XXXXXX";
    CHECK(::mkdtemp(name.data()) != nullptr);
    root_ = name;
    Reopen();
  }
  ~ManagerTest() override { (void)RemoveTree(root_); }

  // As a restart does.
  void Reopen() {
    ca_ = ClusterCa::Open({.root = root_, .clock = clock_, .hosts = {}}).value();
    tokens_ = Tokens::Open(*kv_, clock_).value();
    fleet_ = Fleet::Open(*kv_, clock_).value();
    throttle_ = std::make_unique<Throttle>(clock_);
    enrolment_ = std::make_unique<Enrolment>(Enrolment::Options{
        .ca = *ca_, .tokens = *tokens_, .fleet = *fleet_, .throttle = *throttle_});
  }

  std::string JoinSecret(uint32_t uses = 1) {
    return tokens_->CreateJoin({"test", "default", std::chrono::hours(1), uses})
        .value()
        .text.Reveal();
  }
  static v1::JoinRequest JoinRequest(const std::string& secret, const std::string& name,
                                     const net::PrivateKey& key) {
    v1::JoinRequest request;
    request.set_token(secret);
    request.set_cluster("default");
    request.set_signing_request(net::SigningRequest::MakePem(key));
    request.mutable_node()->set_name(name);
    request.mutable_node()->set_data_address("10.0.0.1:7734");
    request.mutable_node()->set_control_address("10.0.0.1:7735");
    request.mutable_versions()->set_program("0.1.0");
    return request;
  }
  Member JoinNode(const std::string& name) {
    net::PrivateKey key = net::PrivateKey::Generate();
    const auto membership = enrolment_->Join(JoinRequest(JoinSecret(), name, key), "10.0.0.1");
    CHECK(membership.ok());
    return {key, name, membership->certificate_chain(), membership->node_id()};
  }

  FakeClock clock_;
  std::filesystem::path root_;
  const std::unique_ptr<kv::Kv> kv_ = kv::MakeMemoryKv();
  std::unique_ptr<ClusterCa> ca_;
  std::unique_ptr<Tokens> tokens_;
  std::unique_ptr<Fleet> fleet_;
  std::unique_ptr<Throttle> throttle_;
  std::unique_ptr<Enrolment> enrolment_;
};

}  // namespace hearth::manager
