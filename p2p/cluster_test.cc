// Nodes that feed each other, over real ports and streams.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "p2p/cluster_fixture_test.h"
#include "store/blob_store_for_test.h"

namespace hearth::p2p {
namespace {

using oci::ScriptedServer;
using store::RandomBytes;

constexpr uint32_t kPieces = 41;

class ClusterTest : public ClusterFixture {
 protected:
  static PieceRun Run(uint32_t first, uint32_t count) { return {PieceIndex{first}, count}; }

  const std::string bytes_ = RandomBytes(40 * kMinPieceSizeBytes + 12'345, 1);
  const Digest digest_ = Digest::Of(bytes_);
};

TEST_F(ClusterTest, TwoNodesFetchHalfEachAndSwap) {
  ScriptedServer origin(Serving(bytes_));
  auto registry = MakeRegistry();
  TestNode a(authority_, registry);
  TestNode b(authority_, registry);
  const auto at_a = a.swarm->Fetch(RequestTo(origin, bytes_));
  const auto at_b = b.swarm->Fetch(RequestTo(origin, bytes_));
  ASSERT_TRUE(at_a.ok() && at_b.ok());
  ASSERT_TRUE(a.SaidJoin() && b.SaidJoin());
  a.Tell(digest_, {b.AsNeighbour()});
  a.Lease(digest_, Run(0, 20));
  b.Lease(digest_, Run(20, kPieces - 20));
  EXPECT_EQ((*at_a)->WaitComplete({}, Soon()), OkStatus());
  EXPECT_EQ((*at_b)->WaitComplete({}, Soon()), OkStatus());
  EXPECT_EQ(origin_bytes, bytes_.size()) << "every byte leaves the registry once";
  EXPECT_EQ(ReadAll(*(*at_b)->blob()), bytes_);
}

TEST_F(ClusterTest, HolderOfTheVerifiedBlobSeedsIt) {
  ScriptedServer origin(Serving(bytes_));
  auto registry = MakeRegistry();
  TestNode seed(authority_, registry);
  TestNode node(authority_, registry);
  ASSERT_NO_FATAL_FAILURE(Put(*seed.store, bytes_));
  const auto fetch = node.swarm->Fetch(RequestTo(origin, bytes_));
  ASSERT_TRUE(fetch.ok() && node.SaidJoin());
  node.Tell(digest_, {seed.AsNeighbour()});
  EXPECT_EQ((*fetch)->WaitComplete({}, Soon()), OkStatus());
  EXPECT_EQ(origin_bytes, 0u);
}

TEST_F(ClusterTest, BlobThatWasRemovedHereComesFromTheSameNeighbourAgain) {
  ScriptedServer origin(Serving(bytes_));
  auto registry = MakeRegistry();
  TestNode seed(authority_, registry);
  TestNode node(authority_, registry);
  ASSERT_NO_FATAL_FAILURE(Put(*seed.store, bytes_));
  const auto joins = [&node] {
    const auto said = node.tracker.said();
    return std::ranges::count_if(said, [](const auto& message) { return message.has_join(); });
  };
  for (int times = 1; times <= 2; ++times) {
    const auto fetch = node.swarm->Fetch(RequestTo(origin, bytes_));
    ASSERT_TRUE(fetch.ok() && node.Said([&](const auto&) { return joins() == times; }));
    node.Tell(digest_, {seed.AsNeighbour()});
    EXPECT_EQ((*fetch)->WaitComplete({}, Soon()), OkStatus());
    EXPECT_EQ(origin_bytes, 0u);
    ASSERT_TRUE(node.store->Remove(digest_).ok());
  }
}

TEST_F(ClusterTest, WithoutATrackerNodesGoToTheOriginSoonAndStillFeedNeighbours) {
  ScriptedServer origin(Serving(bytes_));
  auto registry = MakeRegistry();
  TestNode node(authority_, registry);
  node.tracker.up = false;
  const auto began = std::chrono::steady_clock::now();
  const auto fetch = node.swarm->Fetch(RequestTo(origin, bytes_));
  ASSERT_TRUE(fetch.ok());
  EXPECT_EQ((*fetch)->WaitComplete({}, Soon()), OkStatus());
  EXPECT_LT(std::chrono::steady_clock::now() - began, std::chrono::seconds(15));
  EXPECT_EQ(origin_bytes, bytes_.size());
}

TEST_F(ClusterTest, OriginWithoutRangesIsReadOnce) {
  std::atomic<int> whole = 0;
  ScriptedServer origin([&](const oci::Request& request, int) {
    if (request.Header("Range").empty()) ++whole;
    oci::Reply reply;
    reply.body = bytes_;
    return reply;
  });
  auto registry = MakeRegistry();
  TestNode node(authority_, registry);
  const auto fetch = node.swarm->Fetch(RequestTo(origin, bytes_));
  ASSERT_TRUE(fetch.ok() && node.SaidJoin());
  node.Lease(digest_, Run(3, 30));
  EXPECT_TRUE(node.Said([](const v1::FromNode& message) {
    return message.has_origin() && message.origin().kind() == v1::OriginTrouble::WITHOUT_RANGES;
  }));
  EXPECT_EQ((*fetch)->WaitComplete({}, Soon()), OkStatus());
  EXPECT_EQ(whole, 1);
}

TEST_F(ClusterTest, BlobThatTheOriginRefusesAndNobodyHasFailsWithTheOriginsReason) {
  ScriptedServer origin([](const oci::Request&, int) { return oci::StatusReply(404); });
  auto registry = MakeRegistry();
  TestNode node(authority_, registry);
  const auto fetch = node.swarm->Fetch(RequestTo(origin, bytes_));
  ASSERT_TRUE(fetch.ok() && node.SaidJoin());
  node.Lease(digest_, Run(0, kPieces));
  EXPECT_EQ((*fetch)->WaitComplete({}, Soon()).code(), StatusCode::kNotFound);
}

TEST_F(ClusterTest, NodeThatTheOriginRefusesIsFedByThoseThatItTakes) {
  ScriptedServer origin(Serving(bytes_));
  ScriptedServer refusing([](const oci::Request&, int) { return oci::StatusReply(401); });
  auto registry = MakeRegistry();
  TestNode taken(authority_, registry);
  TestNode refused(authority_, registry);
  const auto at_refused = refused.swarm->Fetch(RequestTo(refusing, bytes_));
  ASSERT_TRUE(at_refused.ok() && refused.SaidJoin());
  refused.Lease(digest_, Run(0, kPieces));
  EXPECT_TRUE(refused.Said([](const v1::FromNode& message) {
    return message.has_origin() && message.origin().kind() == v1::OriginTrouble::REFUSED;
  }));
  const auto at_taken = taken.swarm->Fetch(RequestTo(origin, bytes_));
  ASSERT_TRUE(at_taken.ok() && taken.SaidJoin());
  refused.Tell(digest_, {taken.AsNeighbour()});
  taken.Lease(digest_, Run(0, kPieces));
  EXPECT_EQ((*at_refused)->WaitComplete({}, Soon()), OkStatus());
  EXPECT_EQ((*at_taken)->WaitComplete({}, Soon()), OkStatus());
  EXPECT_EQ(origin_bytes, bytes_.size());
}

TEST_F(ClusterTest, NextTryGoesOnWhereAnOriginThatWentAwayLeftOff) {
  std::atomic<bool> away = false;
  ScriptedServer origin([&](const oci::Request& request, int) {
    if (away) return oci::StatusReply(404);
    oci::Reply reply = oci::BlobReply(request, bytes_);
    origin_bytes += reply.body.size();
    return reply;
  });
  auto registry = MakeRegistry();
  TestNode node(authority_, registry);
  {
    const auto fetch = node.swarm->Fetch(RequestTo(origin, bytes_));
    ASSERT_TRUE(fetch.ok() && node.SaidJoin());
    node.Lease(digest_, Run(0, 20));
    const auto came = [&] { return (*fetch)->blob()->PresentBytes() == 20 * kMinPieceSizeBytes; };
    for (const Deadline deadline = Soon(); !came() && !deadline.Passed();) {
      std::this_thread::yield();
    }
    away = true;
    node.Lease(digest_, Run(20, kPieces - 20));
    const Status failed = (*fetch)->WaitComplete({}, Soon());
    EXPECT_EQ(failed.code(), StatusCode::kNotFound);
    EXPECT_THAT(failed.message(), testing::HasSubstr(origin.host())) << "who, and why";
  }
  away = false;
  node.tracker.up = false;
  const auto again = node.swarm->Fetch(RequestTo(origin, bytes_));
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ((*again)->WaitComplete({}, Soon()), OkStatus());
  EXPECT_EQ(origin_bytes, bytes_.size()) << "nothing is fetched twice";
}

TEST_F(ClusterTest, SmallBlobComesFromWhoHasIt) {
  const std::string small = RandomBytes(4096, 2);
  ScriptedServer origin(Serving(small));
  auto registry = MakeRegistry();
  TestNode seed(authority_, registry);
  TestNode node(authority_, registry);
  ASSERT_NO_FATAL_FAILURE(Put(*seed.store, small));
  const auto fetch = node.swarm->Fetch(RequestTo(origin, small));
  ASSERT_TRUE(fetch.ok());
  ASSERT_TRUE(node.Said([](const v1::FromNode& message) { return message.has_locate(); }));
  node.Tell(Digest::Of(small), {seed.AsNeighbour()}, /*located=*/true);
  EXPECT_EQ((*fetch)->WaitComplete({}, Soon()), OkStatus());
  // The tracker's answer may come too late for a busy machine: then the origin is asked, once.
  EXPECT_THAT(origin_bytes.load(), testing::AnyOf(0u, small.size()));
}

TEST_F(ClusterTest, SmallBlobThatNobodyHasComesFromTheOriginWithoutWaitingForATick) {
  auto registry = MakeRegistry();
  TestNode node(authority_, registry);
  node.tracker.up = false;
  auto quickest = std::chrono::steady_clock::duration::max();
  for (uint64_t seed = 0; seed < 5; ++seed) {
    const std::string small = RandomBytes(4096, 10 + seed);
    ScriptedServer origin(Serving(small));
    const auto began = std::chrono::steady_clock::now();
    const auto fetch = node.swarm->Fetch(RequestTo(origin, small));
    ASSERT_TRUE(fetch.ok());
    EXPECT_EQ((*fetch)->WaitComplete({}, Soon()), OkStatus());
    quickest = std::min(quickest, std::chrono::steady_clock::now() - began);
  }
  EXPECT_LT(quickest, std::chrono::milliseconds(400)) << "a download's tick is 500 ms";
}

TEST_F(ClusterTest, PrivateRegistryIsNotShared) {
  ScriptedServer origin(Serving(bytes_));
  auto registry = MakeRegistry();
  TestNode a(authority_, registry, [](const std::string&) { return true; });
  const auto fetch = a.swarm->Fetch(RequestTo(origin, bytes_));
  ASSERT_TRUE(fetch.ok());
  EXPECT_EQ((*fetch)->WaitComplete({}, Soon()), OkStatus());
  EXPECT_TRUE(a.tracker.said().empty()) << "not even that it exists";
  TestNode b(authority_, registry);
  const auto at_b = b.swarm->Fetch(RequestTo(origin, bytes_));
  ASSERT_TRUE(at_b.ok() && b.SaidJoin());
  b.Tell(digest_, {a.AsNeighbour()});
  b.Lease(digest_, Run(0, kPieces));
  EXPECT_EQ((*at_b)->WaitComplete({}, Soon()), OkStatus());
  EXPECT_EQ(origin_bytes, 2 * bytes_.size());
}

// A node with a valid certificate that serves other bytes than it attested.
TEST_F(ClusterTest, NodeThatSendsWrongPiecesIsNamedAndNotFatal) {
  ScriptedServer origin(Serving(bytes_));
  auto registry = MakeRegistry();
  TestNode liar(authority_, registry);
  TestNode node(authority_, registry);
  ASSERT_NO_FATAL_FAILURE(Put(*liar.store, bytes_));
  std::string wrong = bytes_;
  for (size_t at = 0; at < wrong.size(); at += 1000) wrong[at] = static_cast<char>(~wrong[at]);
  const auto file = OpenFile(
      liar.scratch.path() / "store/blobs/sha256" / digest_.hex().substr(0, 2) / digest_.hex(),
      O_RDWR);
  ASSERT_TRUE(file.ok()) << file.status();
  const auto fetch = node.swarm->Fetch(RequestTo(origin, bytes_));
  ASSERT_TRUE(fetch.ok() && node.SaidJoin());
  // It attests while its bytes are right …
  std::vector<Digest> sums;
  for (uint32_t piece = 0; piece < kPieces; ++piece) {
    sums.push_back(Digest::Of(
        std::string_view(bytes_).substr(piece * kMinPieceSizeBytes, kMinPieceSizeBytes)));
  }
  ASSERT_TRUE(WriteAllAt(file->get(), wrong, 0).ok());  // … and serves these
  const auto attestation = liar.attester.Sign(digest_, bytes_.size(), PieceIndex{0}, sums);
  ASSERT_TRUE(attestation.ok());
  const auto link = std::make_shared<StandIn>(liar);
  ASSERT_EQ(node.cluster.OnLinkUp(link), OkStatus());
  v1::NeighbourMessage message;
  *message.mutable_attestation() = *attestation;
  ASSERT_EQ(node.cluster.OnMessage(*link, message), OkStatus());
  message.mutable_have()->set_blob(ToRaw(digest_));
  for (const Digest& sum : sums) message.mutable_have()->mutable_sums()->append(ToRaw(sum));
  ASSERT_EQ(node.cluster.OnMessage(*link, message), OkStatus());
  EXPECT_TRUE(node.Said([&](const v1::FromNode& said) {
    return said.has_blame() && said.blame().node_id() == liar.member.id &&
           said.blame().kind() == v1::Blame::SERVED_WRONG;
  }));
  node.Lease(digest_, Run(0, kPieces));
  EXPECT_EQ((*fetch)->WaitComplete({}, Soon()), OkStatus());
  EXPECT_EQ(origin_bytes, bytes_.size()) << "nothing of the liar's entered";
}

// A node that attests false sums and serves what fits them: found by the digest, proven by the
// origin.
TEST_F(ClusterTest, FalseAttestationIsFoundByTheDigestAndItsSignerNamed) {
  ScriptedServer origin(Serving(bytes_));
  auto registry = MakeRegistry();
  TestNode liar(authority_, registry);
  TestNode node(authority_, registry);
  ASSERT_NO_FATAL_FAILURE(Put(*liar.store, bytes_));
  std::string wrong = bytes_;
  wrong[5] = static_cast<char>(~wrong[5]);
  const auto file = OpenFile(
      liar.scratch.path() / "store/blobs/sha256" / digest_.hex().substr(0, 2) / digest_.hex(),
      O_RDWR);
  ASSERT_TRUE(file.ok() && WriteAllAt(file->get(), wrong, 0).ok());
  const auto fetch = node.swarm->Fetch(RequestTo(origin, bytes_));
  ASSERT_TRUE(fetch.ok() && node.SaidJoin());
  node.Tell(digest_, {liar.AsNeighbour()});
  EXPECT_EQ((*fetch)->WaitComplete({}, Soon()), OkStatus());
  EXPECT_TRUE(node.Said([&](const v1::FromNode& said) {
    return said.has_blame() && said.blame().node_id() == liar.member.id &&
           said.blame().kind() == v1::Blame::ATTESTED_WRONG && said.blame().has_proof();
  }));
  EXPECT_TRUE(node.Said([](const v1::FromNode& said) { return said.has_mismatch(); }));
}

TEST_F(ClusterTest, LostNeighbourIsDialledAgainWhileItsBlobIsWanted) {
  ScriptedServer origin([](const oci::Request&, int) { return oci::StatusReply(503); });
  auto registry = MakeRegistry();
  TestNode seed(authority_, registry);
  TestNode node(authority_, registry);
  const auto fetch = node.swarm->Fetch(RequestTo(origin, bytes_));
  ASSERT_TRUE(fetch.ok() && node.SaidJoin());
  const auto become = [&](size_t neighbours) {
    return Eventually([&] { return node.cluster.neighbours() == neighbours; });
  };
  node.Tell(digest_, {seed.AsNeighbour()});
  ASSERT_TRUE(become(1));
  const std::string address = seed.control->address();
  seed.control->Shutdown(std::chrono::milliseconds(0));
  ASSERT_TRUE(become(0));
  ASSERT_NO_FATAL_FAILURE(Put(*seed.store, bytes_));
  seed.control =
      Must(net::GrpcTlsServer::Start({.listen = address,
                                      .tls = Must(net::TlsWatch::Start(seed.member.files)),
                                      .services = {seed.service.get()}}));
  EXPECT_EQ((*fetch)->WaitComplete({}, Soon()), OkStatus());
  EXPECT_EQ(ReadAll(*(*fetch)->blob()), bytes_);
}

TEST_F(ClusterTest, BannedNodeGetsNothing) {
  ScriptedServer origin(Serving(bytes_));
  auto registry = MakeRegistry();
  TestNode a(authority_, registry);
  TestNode b(authority_, registry);
  v1::ToNode bans;
  bans.mutable_bans()->add_banned(b.member.id);
  a.cluster.OnTracker(bans);
  EXPECT_FALSE(a.cluster.MayAsk(b.member.id));
  ASSERT_NO_FATAL_FAILURE(Put(*a.store, bytes_));
  const auto fetch = b.swarm->Fetch(RequestTo(origin, bytes_));
  ASSERT_TRUE(fetch.ok() && b.SaidJoin());
  b.Tell(digest_, {a.AsNeighbour()});
  b.Lease(digest_, Run(0, kPieces));
  EXPECT_EQ((*fetch)->WaitComplete({}, Soon()), OkStatus());
  EXPECT_EQ(origin_bytes, bytes_.size());
}

class NeighbourMessages : public ClusterTest {
 protected:
  // The node wants the blob; a stand-in speaks for another node.
  void SetUp() override {
    fetch_ = *node_.swarm->Fetch(RequestTo(origin_, bytes_));
    ASSERT_TRUE(node_.SaidJoin());
    ASSERT_EQ(node_.cluster.OnLinkUp(link_), OkStatus());
  }
  StatusCode Tell(const v1::NeighbourMessage& message) {
    return node_.cluster.OnMessage(*link_, message).code();
  }

  ScriptedServer origin_{Serving(bytes_)};
  oci::Registry registry_ = MakeRegistry();
  TestNode other_{authority_, registry_};
  TestNode node_{authority_, registry_};
  const std::shared_ptr<StandIn> link_ = std::make_shared<StandIn>(other_);
  std::shared_ptr<Fetch> fetch_;
};

TEST_F(NeighbourMessages, PiecesThatDoNotExistEndTheStreamAndKeepTheNodeOut) {
  v1::NeighbourMessage message;
  message.mutable_have()->set_blob(ToRaw(digest_));
  message.mutable_have()->set_first(kPieces - 1);
  message.mutable_have()->set_sums(std::string(64, 'x'));
  EXPECT_EQ(Tell(message), StatusCode::kInvalidArgument);
  EXPECT_FALSE(node_.cluster.MayAsk(other_.member.id));
  node_.cluster.OnLinkDown(*link_);
  EXPECT_EQ(node_.cluster.OnLinkUp(link_).code(), StatusCode::kPermissionDenied);
}

TEST_F(NeighbourMessages, WhatIsBeyondALimitEndsTheStream) {
  const auto have = [&](const std::string& blob, const std::string& sums) {
    v1::NeighbourMessage message;
    message.mutable_have()->set_blob(blob);
    message.mutable_have()->set_sums(sums);
    return Tell(message);
  };
  EXPECT_EQ(have("short", std::string(32, 'x')), StatusCode::kInvalidArgument);
  EXPECT_EQ(have(ToRaw(digest_), ""), StatusCode::kInvalidArgument);
  EXPECT_EQ(have(ToRaw(digest_), std::string(33, 'x')), StatusCode::kInvalidArgument);
  EXPECT_EQ(have(ToRaw(digest_), std::string(32 * 4097, 'x')), StatusCode::kInvalidArgument);
  v1::NeighbourMessage message;
  message.mutable_interest()->set_blob("x");
  EXPECT_EQ(Tell(message), StatusCode::kInvalidArgument);
  message.mutable_attestation()->set_payload(std::string(200'000, 'x'));
  EXPECT_EQ(Tell(message), StatusCode::kInvalidArgument);
}

TEST_F(NeighbourMessages, AttestationThatItsSignerDidNotSignEndsTheStream) {
  auto attestation = *other_.attester.Sign(digest_, bytes_.size(), PieceIndex{0}, {digest_});
  v1::NeighbourMessage message;
  *message.mutable_attestation() = attestation;
  EXPECT_EQ(Tell(message), StatusCode::kOk);
  message.mutable_attestation()->mutable_payload()->back() ^= 1;
  EXPECT_NE(Tell(message), StatusCode::kOk);
  TestAuthority foreign;
  const store::Scratch scratch;
  const auto stranger = foreign.Issue(scratch.path());
  Attester attester({.identity = [&] { return stranger.identity; }, .cluster = kLab});
  *message.mutable_attestation() = *attester.Sign(digest_, bytes_.size(), PieceIndex{0}, {digest_});
  EXPECT_EQ(Tell(message), StatusCode::kUnauthenticated);
}

TEST_F(NeighbourMessages, FloodIsCutOff) {
  v1::NeighbourMessage message;
  message.mutable_have()->set_blob(ToRaw(Digest::Of("unknown")));
  message.mutable_have()->set_sums(std::string(32, 'x'));
  StatusCode code = StatusCode::kOk;
  for (int i = 0; i < 2'000'000 && code == StatusCode::kOk; ++i) code = Tell(message);
  EXPECT_EQ(code, StatusCode::kResourceExhausted);
}

TEST_F(NeighbourMessages, UnknownMessagesAndBlobsArePassedOver) {
  EXPECT_EQ(Tell(v1::NeighbourMessage()), StatusCode::kOk);
  v1::NeighbourMessage message;
  message.mutable_goodbye()->set_blob(ToRaw(Digest::Of("unknown")));
  EXPECT_EQ(Tell(message), StatusCode::kOk);
  message.mutable_interest()->set_blob(ToRaw(Digest::Of("unknown")));
  EXPECT_EQ(Tell(message), StatusCode::kOk);
}

}  // namespace
}  // namespace hearth::p2p
