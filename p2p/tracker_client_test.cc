#include "p2p/tracker_client.h"

#include <gtest/gtest.h>

#include "p2p/cluster_fixture_test.h"
#include "p2p/manager_client_test.h"
#include "store/blob_store_for_test.h"

namespace hearth::p2p {
namespace {

using oci::ScriptedServer;
using store::RandomBytes;

class TrackerClientTest : public ClusterFixture {
 protected:
  ~TrackerClientTest() override { node_.cluster.Connect(nullptr, nullptr); }

  void Start(std::vector<std::string> managers) {
    tracker_ = std::make_unique<TrackerClient>(
        TrackerClient::Options{.addresses = std::move(managers),
                               .channels = channels_,
                               .cluster = node_.cluster,
                               .blobs = *node_.store,
                               .node = {},
                               .program = "test",
                               .heartbeat = [] { return v1::Heartbeat(); }});
    node_.cluster.Connect(tracker_.get(), node_.dialer.get());
  }
  // How often the manager was told what `wanted` looks for.
  template <typename Wanted>
  static size_t Told(const TestManager& manager, Wanted wanted) {
    return static_cast<size_t>(std::ranges::count_if(manager.heard(), wanted));
  }
  static bool IsWhole(const v1::FromNode& said) {
    return said.has_inventory() && said.inventory().first() && said.inventory().last();
  }

  oci::Registry registry_ = MakeRegistry();
  TestNode node_{authority_, registry_};
  net::TlsChannels channels_{Must(net::TlsWatch::Start(node_.member.files))};
  std::unique_ptr<TrackerClient> tracker_;
};

TEST_F(TrackerClientTest, SaysWhatItHoldsAndWantsAgainAfterEachLoss) {
  ASSERT_NO_FATAL_FAILURE(Put(*node_.store, "held"));
  const std::string wanted = RandomBytes(1 << 20, 1);
  ScriptedServer origin([](const oci::Request&, int) { return oci::StatusReply(503); });
  TestManager manager(authority_);
  Start({manager.address()});
  const auto fetch = Must(node_.swarm->Fetch(RequestTo(origin, wanted)));
  for (size_t stream = 1; stream <= 2; ++stream) {
    EXPECT_TRUE(Eventually([&] { return Told(manager, IsWhole) >= stream; }));
    EXPECT_TRUE(Eventually([&] {
      return Told(manager, [&](const v1::FromNode& said) {
               return said.has_join() && said.join().blob() == ToRaw(Digest::Of(wanted));
             }) >= stream;
    }));
    EXPECT_TRUE(manager.heard().front().has_hello());
    manager.Cut();
  }
  EXPECT_GE(manager.streams, 2);
  for (const auto& said : manager.heard()) {
    if (!IsWhole(said)) continue;
    EXPECT_EQ(said.inventory().added(), ToRaw(Digest::Of("held")));
  }
}

TEST_F(TrackerClientTest, TellsOnlyChangesWithTheHeartbeats) {
  TestManager manager(authority_);
  Start({manager.address()});
  ASSERT_TRUE(Eventually([&] { return Told(manager, IsWhole) == 1; }));
  ASSERT_NO_FATAL_FAILURE(Put(*node_.store, "new"));
  const auto added = [](const v1::FromNode& said) {
    return said.has_inventory() && !said.inventory().first() &&
           said.inventory().added() == ToRaw(Digest::Of("new"));
  };
  EXPECT_TRUE(Eventually([&] { return Told(manager, added) == 1; }));
  ASSERT_EQ(node_.store->Remove(Digest::Of("new")), OkStatus());
  EXPECT_TRUE(Eventually([&] {
    return Told(manager, [](const v1::FromNode& said) {
             return said.inventory().removed() == ToRaw(Digest::Of("new"));
           }) == 1;
  }));
  EXPECT_EQ(Told(manager, IsWhole), 1u);
}

TEST_F(TrackerClientTest, ABlobThatCameAndWentBetweenHeartbeatsIsTakenBack) {
  TestManager manager(authority_);
  Start({manager.address()});
  ASSERT_TRUE(Eventually([&] { return Told(manager, IsWhole) == 1; }));
  v1::FromNode complete;
  complete.mutable_inventory()->set_added(ToRaw(Digest::Of("came and went")));
  tracker_->Send(complete);
  EXPECT_TRUE(Eventually([&] {
    return Told(manager, [](const v1::FromNode& said) {
             return said.inventory().removed() == ToRaw(Digest::Of("came and went"));
           }) == 1;
  }));
}

TEST_F(TrackerClientTest, GoesToTheNextManagerWhereOneDoesNotAnswer) {
  TestManager manager(authority_);
  Start({"127.0.0.1:1", manager.address()});
  EXPECT_TRUE(Eventually([&] { return tracker_->connected(); }));
  EXPECT_EQ(tracker_->state(), OkStatus());
}

TEST_F(TrackerClientTest, ANodeCannotPoseAsTheManager) {
  TestManager node(authority_, {.role = net::Role::kNode});
  TestManager manager(authority_);
  Start({node.address(), manager.address()});
  EXPECT_TRUE(Eventually([&] { return tracker_->connected(); }));
  EXPECT_EQ(node.streams, 0);
  EXPECT_TRUE(node.heard().empty());
}

TEST_F(TrackerClientTest, AManagerThatComesBackOnItsAddressIsFoundAgain) {
  auto manager = std::make_unique<TestManager>(authority_);
  const std::string address = manager->address();
  Start({address});
  ASSERT_TRUE(Eventually([&] { return tracker_->connected(); }));
  manager = nullptr;
  EXPECT_TRUE(Eventually([&] {
    return !tracker_->connected() && !node_.cluster.has_tracker() && !tracker_->state().ok();
  }));
  tracker_->Send({});  // nothing waits for a manager
  manager = std::make_unique<TestManager>(
      authority_, TestAuthority::Papers{.role = net::Role::kManager}, address);
  EXPECT_TRUE(Eventually([&] { return tracker_->connected(); }));
  tracker_->Stop();
  EXPECT_FALSE(tracker_->connected());
}

}  // namespace
}  // namespace hearth::p2p
