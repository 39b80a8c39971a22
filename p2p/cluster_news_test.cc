// What neighbours are told of pieces and attestations, message by message.
#include <gtest/gtest.h>

#include "p2p/cluster_fixture_test.h"
#include "store/blob_store_for_test.h"

namespace hearth::p2p {
namespace {

using oci::ScriptedServer;
using store::RandomBytes;

// A stream of which the test reads what the node says.
class Ear final : public NeighbourLink {
 public:
  explicit Ear(std::string name, uint32_t protocol = 2)
      : peer_{std::move(name), "ear", "127.0.0.1:1", "127.0.0.1:1"}, protocol_(protocol) {}
  const PeerAddress& peer() const override { return peer_; }
  bool dialled() const override { return false; }
  uint32_t protocol() const override { return protocol_; }
  void Send(const v1::NeighbourMessage& message) override {
    MutexLock lock(mutex_);
    heard_.push_back(message);
  }
  void Close(const Status&) override {}

  std::vector<v1::NeighbourMessage> heard() const {
    MutexLock lock(mutex_);
    return heard_;
  }
  template <typename Wanted>
  bool Hears(Wanted wanted) const {
    for (const Deadline deadline = Soon(); !deadline.Passed();) {
      for (const auto& message : heard()) {
        if (wanted(message)) return true;
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
    }
    return false;
  }
  bool HearsOf(uint32_t piece) const {
    return Hears([piece](const v1::NeighbourMessage& message) {
      return std::ranges::find(message.news().pieces(), piece) != message.news().pieces().end();
    });
  }
  int Attestations() const {
    int count = 0;
    for (const auto& message : heard()) {
      count += message.news().attestations_size() + (message.has_attestation() ? 1 : 0);
    }
    return count;
  }

 private:
  const PeerAddress peer_;
  const uint32_t protocol_;
  mutable Mutex mutex_;
  std::vector<v1::NeighbourMessage> heard_ GUARDED_BY(mutex_);
};

class ClusterNewsTest : public ClusterFixture {
 protected:
  // The node wants the blob, and the ear's neighbour too.
  void Connect(TestNode& node, const std::shared_ptr<Ear>& ear) {
    ASSERT_EQ(node.cluster.OnLinkUp(ear), OkStatus());
    v1::NeighbourMessage message;
    message.mutable_interest()->set_blob(ToRaw(digest_));
    message.mutable_interest()->set_size_bytes(bytes_.size());
    ASSERT_EQ(node.cluster.OnMessage(*ear, message), OkStatus());
  }

  const std::string bytes_ = RandomBytes(10 * kMinPieceSizeBytes, 1);
  const Digest digest_ = Digest::Of(bytes_);
  const Digest sum_ = Digest::Of("piece");
};

TEST_F(ClusterNewsTest, AttestationGoesWithThePieceToWhoDoesNotHaveIt) {
  ScriptedServer origin(Serving(bytes_));
  auto registry = MakeRegistry();
  TestNode author(authority_, registry);
  TestNode node(authority_, registry);
  const auto fetch = node.swarm->Fetch(RequestTo(origin, bytes_));
  ASSERT_TRUE(fetch.ok() && node.SaidJoin());
  const auto from = std::make_shared<Ear>("from");
  const auto knows = std::make_shared<Ear>("knows");
  const auto does_not = std::make_shared<Ear>("does not");
  const auto old = std::make_shared<Ear>("old", 1);
  for (const auto& ear : {from, knows, does_not, old}) {
    ASSERT_NO_FATAL_FAILURE(Connect(node, ear));
  }
  v1::NeighbourMessage told;
  *told.mutable_attestation() =
      Must(author.attester.Sign(digest_, bytes_.size(), PieceIndex{3}, {sum_}));
  ASSERT_EQ(node.cluster.OnMessage(*from, told), OkStatus());
  const std::string id =
      ToRaw(Digest::Of(told.attestation().signature() + told.attestation().payload())).substr(0, 8);
  ASSERT_TRUE(knows->Hears([&](const auto& message) { return message.news().known() == id; }));
  EXPECT_EQ(knows->Attestations(), 0) << "the piece is not here";
  v1::NeighbourMessage known;
  known.mutable_news()->set_blob(ToRaw(digest_));
  known.mutable_news()->set_known(id);
  ASSERT_EQ(node.cluster.OnMessage(*knows, known), OkStatus());

  node.cluster.Announce(digest_, {PieceIndex{3}, sum_});
  for (const auto& ear : {from, knows, does_not}) ASSERT_TRUE(ear->HearsOf(3));
  ASSERT_TRUE(old->Hears([](const auto& message) { return message.has_have(); }));
  EXPECT_EQ(from->Attestations(), 0) << "it came from there";
  EXPECT_EQ(knows->Attestations(), 0) << "it said so";
  EXPECT_EQ(does_not->Attestations(), 1);
  EXPECT_EQ(old->Attestations(), 1);
  for (const auto& message : old->heard()) EXPECT_FALSE(message.has_news());
}

// Or who has no attestation of a piece could never ask for it.
TEST_F(ClusterNewsTest, TheFirstAttestationOfAPieceThatWasToldIsToldToo) {
  ScriptedServer origin(Serving(bytes_));
  auto registry = MakeRegistry();
  TestNode author(authority_, registry);
  TestNode node(authority_, registry);
  const auto fetch = node.swarm->Fetch(RequestTo(origin, bytes_));
  ASSERT_TRUE(fetch.ok() && node.SaidJoin());
  const auto from = std::make_shared<Ear>("from");
  const auto ear = std::make_shared<Ear>("ear");
  for (const auto& one : {from, ear}) ASSERT_NO_FATAL_FAILURE(Connect(node, one));
  node.cluster.Announce(digest_, {PieceIndex{3}, sum_});
  ASSERT_TRUE(ear->HearsOf(3));
  EXPECT_EQ(ear->Attestations(), 0);
  v1::NeighbourMessage told;
  *told.mutable_attestation() =
      Must(author.attester.Sign(digest_, bytes_.size(), PieceIndex{2}, {sum_, sum_}));
  ASSERT_EQ(node.cluster.OnMessage(*from, told), OkStatus());
  EXPECT_TRUE(ear->Hears([](const auto& message) {
    return message.news().attestations_size() == 1 && message.news().pieces_size() == 1;
  }));
  EXPECT_EQ(from->Attestations(), 0);
}

TEST_F(ClusterNewsTest, WhatComesTogetherIsOneMessage) {
  ScriptedServer origin(Serving(bytes_));
  auto registry = MakeRegistry();
  TestNode node(authority_, registry);
  const auto fetch = node.swarm->Fetch(RequestTo(origin, bytes_));
  ASSERT_TRUE(fetch.ok() && node.SaidJoin());
  const auto ear = std::make_shared<Ear>("ear");
  ASSERT_NO_FATAL_FAILURE(Connect(node, ear));
  // Quicker than the time for which news are gathered, at least once.
  bool together = false;
  for (uint32_t first = 0; first < 8 && !together; first += 2) {
    node.cluster.Announce(digest_, {PieceIndex{first}, sum_});
    node.cluster.Announce(digest_, {PieceIndex{first + 1}, sum_});
    ASSERT_TRUE(ear->HearsOf(first) && ear->HearsOf(first + 1));
    for (const auto& message : ear->heard()) together |= message.news().pieces_size() == 2;
  }
  EXPECT_TRUE(together);
}

TEST_F(ClusterNewsTest, NewsBeyondTheirLimitsCutTheNeighbourOff) {
  ScriptedServer origin(Serving(bytes_));
  auto registry = MakeRegistry();
  TestNode node(authority_, registry);
  const auto fetch = node.swarm->Fetch(RequestTo(origin, bytes_));
  ASSERT_TRUE(fetch.ok() && node.SaidJoin());
  const std::vector<std::function<void(v1::News&)>> wrongs = {
      [](v1::News& news) { news.set_blob("short"); },
      [](v1::News& news) { news.add_pieces(1); },
      [](v1::News& news) { news.set_sums(std::string(32, 's')); },
      [](v1::News& news) { news.set_known("seven.."); },
      [](v1::News& news) { news.set_known(std::string(4'097 * 8, 'k')); },
      [](v1::News& news) {
        news.add_pieces(10);
        news.set_sums(std::string(32, 's'));
      },
      [](v1::News& news) { news.add_attestations()->set_payload("none"); }};
  for (size_t i = 0; i < wrongs.size(); ++i) {
    const auto ear = std::make_shared<Ear>("liar " + std::to_string(i));
    ASSERT_NO_FATAL_FAILURE(Connect(node, ear));
    v1::NeighbourMessage message;
    message.mutable_news()->set_blob(ToRaw(digest_));
    wrongs[i](*message.mutable_news());
    EXPECT_EQ(node.cluster.OnMessage(*ear, message).code(), StatusCode::kInvalidArgument) << i;
    EXPECT_FALSE(node.cluster.MayAsk(ear->peer().id)) << i;
  }
}

TEST_F(ClusterNewsTest, NodesOfProtocol1And2FeedEachOther) {
  ScriptedServer origin(Serving(bytes_));
  auto registry = MakeRegistry();
  TestNode older(authority_, registry, nullptr, {}, /*protocol=*/1);
  TestNode newer(authority_, registry);
  const auto at_older = older.swarm->Fetch(RequestTo(origin, bytes_));
  const auto at_newer = newer.swarm->Fetch(RequestTo(origin, bytes_));
  ASSERT_TRUE(at_older.ok() && at_newer.ok());
  ASSERT_TRUE(older.SaidJoin() && newer.SaidJoin());
  older.Tell(digest_, {newer.AsNeighbour()});
  older.Lease(digest_, {PieceIndex{0}, 5});
  newer.Lease(digest_, {PieceIndex{5}, 5});
  EXPECT_EQ((*at_older)->WaitComplete({}, Soon()), OkStatus());
  EXPECT_EQ((*at_newer)->WaitComplete({}, Soon()), OkStatus());
  EXPECT_EQ(origin_bytes, bytes_.size());
}

}  // namespace
}  // namespace hearth::p2p
