// What neighbours are told of pieces and attestations, message by message.
#include <gtest/gtest.h>

#include "p2p/cluster_fixture_test.h"
#include "p2p/news_pace.h"
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

// A node that fetches a blob.
class ClusterNewsTest : public ClusterFixture {
 protected:
  static constexpr uint32_t kPieces = 10;

  void SetUp() override {
    fetch_ = Must(node_.swarm->Fetch(RequestTo(origin_, bytes_)));
    ASSERT_TRUE(node_.SaidJoin());
  }
  // Whoever it belongs to wants the blob too.
  std::shared_ptr<Ear> Connect(const std::string& name, uint32_t protocol = 2) {
    const auto ear = std::make_shared<Ear>(name, protocol);
    EXPECT_EQ(node_.cluster.OnLinkUp(ear), OkStatus());
    v1::NeighbourMessage message;
    message.mutable_interest()->set_blob(ToRaw(digest_));
    message.mutable_interest()->set_size_bytes(bytes_.size());
    EXPECT_EQ(node_.cluster.OnMessage(*ear, message), OkStatus());
    return ear;
  }
  v1::NeighbourMessage Attestation(PieceIndex first, const std::vector<Digest>& sums) {
    TestNode author(authority_, registry_);
    v1::NeighbourMessage message;
    *message.mutable_attestation() =
        Must(author.attester.Sign(digest_, bytes_.size(), first, sums));
    return message;
  }
  void Announce(uint32_t piece) { node_.cluster.Announce(digest_, {PieceIndex{piece}, sum_}); }

  const std::string bytes_ = RandomBytes(kPieces * kMinPieceSizeBytes, 1);
  const Digest digest_ = Digest::Of(bytes_);
  const Digest sum_ = Digest::Of("piece");
  ScriptedServer origin_{Serving(bytes_)};
  oci::Registry registry_ = MakeRegistry();
  TestNode node_{authority_, registry_};
  std::shared_ptr<Fetch> fetch_;
};

TEST_F(ClusterNewsTest, AttestationGoesWithThePieceToWhoDoesNotHaveIt) {
  const auto from = Connect("from");
  const auto knows = Connect("knows");
  const auto does_not = Connect("does not");
  const auto old = Connect("old", 1);
  const auto told = Attestation(PieceIndex{3}, {sum_});
  ASSERT_EQ(node_.cluster.OnMessage(*from, told), OkStatus());
  const std::string id =
      ToRaw(Digest::Of(told.attestation().signature() + told.attestation().payload())).substr(0, 8);
  EXPECT_EQ(knows->Attestations(), 0) << "the piece is not here";
  v1::NeighbourMessage known;
  known.mutable_news()->set_blob(ToRaw(digest_));
  known.mutable_news()->set_known(id);
  ASSERT_EQ(node_.cluster.OnMessage(*knows, known), OkStatus());

  Announce(3);
  for (const auto& ear : {from, knows, does_not}) ASSERT_TRUE(ear->HearsOf(3));
  ASSERT_TRUE(old->Hears([](const auto& message) { return message.has_have(); }));
  EXPECT_EQ(from->Attestations(), 0) << "it came from there";
  EXPECT_EQ(knows->Attestations(), 0) << "it said so";
  EXPECT_EQ(does_not->Attestations(), 1);
  EXPECT_EQ(old->Attestations(), 1);
  for (const auto& message : old->heard()) EXPECT_FALSE(message.has_news());
  EXPECT_TRUE(knows->Hears([&](const auto& message) { return message.news().known() == id; }));
}

TEST_F(ClusterNewsTest, WhoHasThePieceIsToldWithTheNextOneThatItLacks) {
  const auto has = Connect("has");
  const auto lacks = Connect("lacks");
  v1::NeighbourMessage had;
  had.mutable_news()->set_blob(ToRaw(digest_));
  had.mutable_news()->add_pieces(3);
  had.mutable_news()->set_sums(ToRaw(sum_));
  ASSERT_EQ(node_.cluster.OnMessage(*has, had), OkStatus());
  Announce(3);
  ASSERT_TRUE(lacks->HearsOf(3));
  const auto told_it = [](const v1::NeighbourMessage& message) { return message.has_news(); };
  EXPECT_TRUE(std::ranges::none_of(has->heard(), told_it));
  Announce(4);
  ASSERT_TRUE(has->HearsOf(4));
  EXPECT_TRUE(has->HearsOf(3));
  EXPECT_EQ(std::ranges::count_if(has->heard(), told_it), 1);
}

// Or who has no attestation of a piece could never ask for it.
TEST_F(ClusterNewsTest, TheFirstAttestationOfAPieceThatWasToldIsToldToo) {
  const auto from = Connect("from");
  const auto ear = Connect("ear");
  Announce(3);
  ASSERT_TRUE(ear->HearsOf(3));
  EXPECT_EQ(ear->Attestations(), 0);
  const auto told = Attestation(PieceIndex{2}, {sum_, sum_});
  ASSERT_EQ(node_.cluster.OnMessage(*from, told), OkStatus());
  EXPECT_TRUE(ear->Hears([](const auto& message) {
    return message.news().attestations_size() == 1 && message.news().pieces_size() == 1;
  }));
  EXPECT_EQ(from->Attestations(), 0);
}

TEST_F(ClusterNewsTest, WhatComesTogetherIsOneMessage) {
  const auto ear = Connect("ear");
  const auto begun = std::chrono::steady_clock::now();
  for (uint32_t piece = 0; piece < kPieces; ++piece) Announce(piece);
  const auto took = std::chrono::steady_clock::now() - begun;
  for (uint32_t piece = 0; piece < kPieces; ++piece) ASSERT_TRUE(ear->HearsOf(piece));
  std::vector<uint32_t> pieces;
  int64_t messages = 0;
  for (const auto& message : ear->heard()) {
    std::ranges::copy(message.news().pieces(), std::back_inserter(pieces));
    messages += message.news().pieces_size() > 0 ? 1 : 0;
  }
  EXPECT_EQ(pieces.size(), kPieces) << "each is told once";
  // Each message was gathered for kLeast at least.
  EXPECT_LE(messages, 1 + took / NewsPace::kLeast);
}

TEST_F(ClusterNewsTest, NewsBeyondTheirLimitsCutTheNeighbourOff) {
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
    const auto ear = Connect("liar " + std::to_string(i));
    v1::NeighbourMessage message;
    message.mutable_news()->set_blob(ToRaw(digest_));
    wrongs[i](*message.mutable_news());
    EXPECT_EQ(node_.cluster.OnMessage(*ear, message).code(), StatusCode::kInvalidArgument) << i;
    EXPECT_FALSE(node_.cluster.MayAsk(ear->peer().id)) << i;
  }
}

TEST_F(ClusterNewsTest, NodesOfProtocol1And2FeedEachOther) {
  TestNode older(authority_, registry_, nullptr, {}, /*protocol=*/1);
  const auto at_older = Must(older.swarm->Fetch(RequestTo(origin_, bytes_)));
  ASSERT_TRUE(older.SaidJoin());
  older.Tell(digest_, {node_.AsNeighbour()});
  older.Lease(digest_, {PieceIndex{0}, 5});
  node_.Lease(digest_, {PieceIndex{5}, 5});
  EXPECT_EQ(at_older->WaitComplete({}, Soon()), OkStatus());
  EXPECT_EQ(fetch_->WaitComplete({}, Soon()), OkStatus());
  EXPECT_EQ(origin_bytes, bytes_.size());
}

}  // namespace
}  // namespace hearth::p2p
