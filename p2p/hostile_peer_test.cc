// What a member of the cluster may do wrong on the wire, and what a stranger may try: each fault
// over real ports against a whole node. Whatever it is, no byte that fails its attested sum is
// stored or told of, the blob ends right, who sent wrong bytes is named, and nothing is left over.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "p2p/hostile_client_test.h"
#include "store/blob_store_for_test.h"

namespace hearth::p2p {
namespace {

using oci::ScriptedServer;
using std::chrono::seconds;
using store::RandomBytes;

constexpr uint32_t kPieces = 9;

class HostilePeerTest : public ClusterFixture {
 protected:
  HostilePeerTest() {
    for (uint32_t piece = 0; piece < kPieces; ++piece) {
      sums_.push_back(Digest::Of(BytesOf(piece * kMinPieceSizeBytes, kMinPieceSizeBytes)));
    }
  }
  void SetUp() override {
    fetch_ = Must(node_.swarm->Fetch(RequestTo(origin_, bytes_)));
    ASSERT_TRUE(node_.SaidJoin());
  }

  std::string BytesOf(uint64_t at, uint64_t size) const { return bytes_.substr(at, size); }
  std::string WrongBytesOf(uint64_t at, uint64_t size) const {
    std::string wrong = BytesOf(at, size);
    wrong[size / 2] = static_cast<char>(~wrong[size / 2]);
    return wrong;
  }
  // A member that promises every piece with its true sum, and answers with `answer`.
  std::unique_ptr<HostilePeer> Promising(HostilePeer::Answer answer) {
    auto peer = std::make_unique<HostilePeer>(authority_.Issue(Folder()), std::move(answer));
    EXPECT_TRUE(peer->Connect(node_));
    EXPECT_TRUE(peer->Promise(digest_, bytes_.size(), 0, sums_));
    return peer;
  }
  // A member that attests and serves the first `pieces`, one of them false.
  std::unique_ptr<HostilePeer> Lying(uint32_t wrong, uint32_t pieces) {
    const uint64_t at_wrong = wrong * kMinPieceSizeBytes;
    auto peer = std::make_unique<HostilePeer>(
        authority_.Issue(Folder()), [this, at_wrong](HostilePeer&, uint64_t at, uint64_t size) {
          return HostilePeer::Piece(at, size,
                                    at == at_wrong ? WrongBytesOf(at, size) : BytesOf(at, size));
        });
    std::vector<Digest> told(sums_.begin(), sums_.begin() + pieces);
    told[wrong] = Digest::Of(WrongBytesOf(at_wrong, kMinPieceSizeBytes));
    EXPECT_TRUE(peer->Connect(node_));
    EXPECT_TRUE(peer->Promise(digest_, bytes_.size(), 0, told));
    return peer;
  }
  // The tracker says that enough nodes agree on these.
  void Settle(uint32_t first, const std::vector<Digest>& sums) {
    v1::ToNode message;
    message.mutable_settled()->set_blob(ToRaw(digest_));
    for (const Digest& sum : sums) {
      message.mutable_settled()->add_pieces(first++);
      message.mutable_settled()->mutable_sums()->append(ToRaw(sum));
    }
    node_.cluster.OnTracker(message);
  }
  // How many tries have begun.
  size_t Joins() const {
    const auto said = node_.tracker.said();
    return static_cast<size_t>(
        std::ranges::count_if(said, [](const auto& message) { return message.has_join(); }));
  }
  std::filesystem::path Folder() { return Made(scratch_.path() / std::to_string(++folders_)); }
  void LeaseAll() { node_.Lease(digest_, {PieceIndex{0}, kPieces}); }
  // The node's blob ends as it should; see the top.
  void EndsRight() {
    EXPECT_EQ(fetch_->WaitComplete({}, Soon()), OkStatus());
    const auto blob = node_.store->Open(digest_);
    ASSERT_TRUE(blob.ok()) << blob.status();
    EXPECT_EQ(ReadAll(**blob), bytes_);
    EXPECT_TRUE(Eventually([&] { return node_.peers.held_bytes() == 0; })) << "nothing is left";
  }
  // Nothing but the truth was told to the peer.
  void OnlyTruthIsTold(const HostilePeer& peer) const {
    for (const auto& message : peer.heard()) {
      const std::string_view told = message.have().sums();
      for (size_t i = 0; i * Digest::kBytes < told.size(); ++i) {
        EXPECT_EQ(FromRaw(told.substr(i * Digest::kBytes, Digest::kBytes)),
                  sums_.at(message.have().first() + i));
      }
    }
  }
  static auto Blames(const std::string& id, v1::Blame::Kind kind) {
    return [=](const v1::FromNode& said) {
      return said.has_blame() && said.blame().node_id() == id && said.blame().kind() == kind;
    };
  }
  bool NobodyIsBlamed() const {
    return std::ranges::none_of(node_.tracker.said(),
                                [](const auto& said) { return said.has_blame(); });
  }
  // What is wrong with each of its bytes is found, it is named and not asked again.
  void IsNamedAndNothingEnters(HostilePeer::Answer answer) {
    const auto liar = Promising(std::move(answer));
    EXPECT_TRUE(node_.Said(Blames(liar->id(), v1::Blame::SERVED_WRONG)));
    EXPECT_EQ(fetch_->blob()->PresentBytes(), 0u);
    const int asked = liar->asked();
    LeaseAll();
    EndsRight();
    EXPECT_EQ(origin_bytes, bytes_.size());
    EXPECT_EQ(liar->asked(), asked) << "asked again";
    OnlyTruthIsTold(*liar);
  }

  const std::string bytes_ = RandomBytes((kPieces - 1) * kMinPieceSizeBytes + 12'345, 1);
  const Digest digest_ = Digest::Of(bytes_);
  std::vector<Digest> sums_;
  store::Scratch scratch_;
  int folders_ = 0;
  ScriptedServer origin_{Serving(bytes_)};
  oci::Registry registry_ = MakeRegistry();
  TestNode node_{authority_, registry_};
  std::shared_ptr<Fetch> fetch_;
};

// --- bytes ---

TEST_F(HostilePeerTest, WrongBytesAreNotStoredAndTheirSenderIsNamed) {
  IsNamedAndNothingEnters([this](HostilePeer&, uint64_t at, uint64_t size) {
    return HostilePeer::Piece(at, size, WrongBytesOf(at, size));
  });
}

TEST_F(HostilePeerTest, RightBytesOfAnotherPieceAreWrongBytes) {
  IsNamedAndNothingEnters([this](HostilePeer&, uint64_t at, uint64_t size) {
    const uint64_t other = at == 0 ? kMinPieceSizeBytes : 0;
    return HostilePeer::Piece(at, size, BytesOf(other, size));
  });
}

TEST_F(HostilePeerTest, HalfAPieceIsNotStoredAndAnotherSourceBringsIt) {
  const auto peer = Promising([this](HostilePeer& self, uint64_t at, uint64_t size) {
    return self.Piece(at, size, BytesOf(at, size / 2), HostileBody::End::kCut);
  });
  ASSERT_TRUE(Eventually([&] { return peer->asked() > 0; }));
  LeaseAll();
  EndsRight();
  EXPECT_EQ(origin_bytes, bytes_.size());
  EXPECT_TRUE(NobodyIsBlamed()) << "a connection may break";
}

TEST_F(HostilePeerTest, AnAnswerOfAnotherLengthOrRangeIsNotStored) {
  std::atomic<int> turn = 0;
  const auto peer = Promising([&](HostilePeer&, uint64_t at, uint64_t size) {
    switch (turn++ % 3) {
      case 0:
        return HostilePeer::Piece(at, size, BytesOf(at, size) + "and more");
      case 1:
        return HostilePeer::Piece(at, size, BytesOf(at, size - 1));
      default:
        return HostilePeer::Piece(at + kMinPieceSizeBytes, size, BytesOf(at, size));
    }
  });
  ASSERT_TRUE(Eventually([&] { return peer->asked() > 0; }));
  LeaseAll();
  EndsRight();
  EXPECT_EQ(origin_bytes, bytes_.size());
}

TEST_F(HostilePeerTest, ASourceThatSendsNothingAtAllIsLeftForAnother) {
  const auto peer = Promising([](HostilePeer& self, uint64_t at, uint64_t size) {
    return self.Piece(at, size, "", HostileBody::End::kSilence);
  });
  ASSERT_TRUE(Eventually([&] { return peer->asked() > 0; }));
  TestNode seed(authority_, registry_);
  ASSERT_NO_FATAL_FAILURE(Put(*seed.store, bytes_));
  node_.Tell(digest_, {seed.AsNeighbour()});
  EndsRight();
  EXPECT_EQ(origin_bytes, 0u);
}

TEST_F(HostilePeerTest, AByteASecondKeepsNobodyFromTheOrigin) {
  const auto peer = Promising([](HostilePeer& self, uint64_t at, uint64_t size) {
    return self.Piece(at, size, "", HostileBody::End::kTrickle);
  });
  ASSERT_TRUE(Eventually([&] { return peer->asked() > 0; }));
  node_.tracker.up = false;
  node_.cluster.OnTrackerDown();
  EndsRight();
  EXPECT_EQ(origin_bytes, bytes_.size());
}

// Of a lease holder: what it fetched and signed is not what the origin has, and it serves what fits
// its word.
TEST_F(HostilePeerTest, AFalseAttestationIsFoundByTheDigestAndOnlyItsSignerNamed) {
  std::vector<Digest> false_sums;
  for (uint64_t at = 0; at < bytes_.size(); at += kMinPieceSizeBytes) {
    const uint64_t size = std::min<uint64_t>(kMinPieceSizeBytes, bytes_.size() - at);
    false_sums.push_back(Digest::Of(WrongBytesOf(at, size)));
  }
  TestNode other(authority_, registry_);
  const auto at_other = Must(other.swarm->Fetch(RequestTo(origin_, bytes_)));
  ASSERT_TRUE(other.SaidJoin());
  other.Tell(digest_, {node_.AsNeighbour()});
  ASSERT_TRUE(Eventually([&] { return node_.cluster.neighbours() == 1; }));
  HostilePeer liar(authority_.Issue(Folder()), [this](HostilePeer&, uint64_t at, uint64_t size) {
    return HostilePeer::Piece(at, size, WrongBytesOf(at, size));
  });
  ASSERT_TRUE(liar.Connect(node_));
  ASSERT_TRUE(liar.Promise(digest_, bytes_.size(), 0, false_sums));
  EXPECT_TRUE(node_.Said([&](const v1::FromNode& said) {
    return Blames(liar.id(), v1::Blame::ATTESTED_WRONG)(said) && said.blame().has_proof();
  }));
  EndsRight();
  other.Lease(digest_, {PieceIndex{0}, kPieces});
  EXPECT_EQ(at_other->WaitComplete({}, Soon()), OkStatus());
  EXPECT_EQ(ReadAll(**other.store->Open(digest_)), bytes_);
  for (const TestNode* node : {&node_, &other}) {
    for (const auto& said : node->tracker.said()) {
      EXPECT_TRUE(!said.has_blame() || said.blame().node_id() == liar.id());
    }
  }
}

TEST_F(HostilePeerTest, AfterAWrongDigestOnlyFalsePiecesAreFetchedAgain) {
  const auto liar = Lying(3, kPieces);
  EXPECT_TRUE(node_.Said([](const v1::FromNode& said) { return said.has_mismatch(); }));
  ASSERT_TRUE(Eventually([&] { return Joins() == 2; }));
  Settle(0, sums_);
  node_.Lease(digest_, {PieceIndex{3}, 1});
  EndsRight();
  EXPECT_EQ(origin_bytes, kMinPieceSizeBytes);
  EXPECT_TRUE(node_.Said([&](const v1::FromNode& said) {
    return Blames(liar->id(), v1::Blame::ATTESTED_WRONG)(said) && said.blame().has_proof();
  }));
}

TEST_F(HostilePeerTest, AFalseVersionOfAPieceThatSettlesOtherwiseIsDroppedAndFetchedAnew) {
  const auto liar = Lying(3, kPieces - 1);
  ASSERT_TRUE(Eventually(
      [&] { return fetch_->blob()->PresentBytes() == (kPieces - 1) * kMinPieceSizeBytes; }));
  Settle(3, {sums_[3]});
  EXPECT_TRUE(node_.Said([](const v1::FromNode& said) { return said.has_mismatch(); }));
  EXPECT_EQ(fetch_->blob()->failure().code(), StatusCode::kDataLoss) << "its readers have it";
  ASSERT_TRUE(Eventually([&] { return Joins() == 2; }));
  Settle(0, sums_);
  node_.Lease(digest_, {PieceIndex{3}, 1});
  node_.Lease(digest_, {PieceIndex{kPieces - 1}, 1});
  EndsRight();
  EXPECT_EQ(origin_bytes, bytes_.size() - (kPieces - 2) * kMinPieceSizeBytes);
}

TEST_F(HostilePeerTest, WhereNothingSettlesEverythingComesFromTheOriginInTheEnd) {
  const auto liar = Lying(3, kPieces);
  ASSERT_TRUE(Eventually([&] { return Joins() == 2; }));
  node_.tracker.up = false;
  node_.cluster.OnTrackerDown();
  EndsRight();
  EXPECT_EQ(origin_bytes, bytes_.size());
}

// --- what it says ---

TEST_F(HostilePeerTest, ABitmapThatLiesCostsARequestForEachPieceAndTheTrackerIsTold) {
  const auto peer =
      Promising([](HostilePeer&, uint64_t, uint64_t) { return HostilePeer::Refusal(404); });
  EXPECT_TRUE(node_.Said([](const v1::FromNode& said) { return said.has_missing(); }));
  EXPECT_EQ(peer->asked(), static_cast<int>(kPieces));
  LeaseAll();
  EndsRight();
  EXPECT_EQ(origin_bytes, bytes_.size());
}

TEST_F(HostilePeerTest, APieceIsNotAskedOfWhoPromisesAnotherSumThanTheAttested) {
  HostilePeer peer(authority_.Issue(Folder()), [this](HostilePeer&, uint64_t at, uint64_t size) {
    return HostilePeer::Piece(at, size, WrongBytesOf(at, size));
  });
  ASSERT_TRUE(peer.Connect(node_));
  ASSERT_TRUE(peer.Promise(digest_, bytes_.size(), 0, sums_));
  // The same again with other sums, for which nobody stands.
  HostilePeer other(authority_.Issue(Folder()), [this](HostilePeer&, uint64_t at, uint64_t size) {
    return HostilePeer::Piece(at, size, WrongBytesOf(at, size));
  });
  ASSERT_TRUE(other.Connect(node_));
  ASSERT_TRUE(other.Have(digest_, 0, std::vector<Digest>(kPieces, Digest::Of("false"))));
  EXPECT_TRUE(node_.Said(Blames(peer.id(), v1::Blame::SERVED_WRONG)));
  LeaseAll();
  EndsRight();
  EXPECT_EQ(other.asked(), 0);
}

TEST_F(HostilePeerTest, AFloodOfHavesEndsTheStreamAndKeepsThePeerOut) {
  const auto peer = Promising([this](HostilePeer&, uint64_t at, uint64_t size) {
    return HostilePeer::Piece(at, size, BytesOf(at, size));
  });
  const std::vector<Digest> unknown{Digest::Of("sum")};
  while (peer->Have(Digest::Of("unknown blob"), 0, unknown)) {
  }
  EXPECT_EQ(peer->End().code(), StatusCode::kResourceExhausted);
  EXPECT_FALSE(node_.cluster.MayAsk(peer->id()));
  EXPECT_FALSE(peer->Connect(node_));
  EXPECT_EQ(peer->End().code(), StatusCode::kPermissionDenied);
  LeaseAll();
  EndsRight();
}

TEST_F(HostilePeerTest, AnOversizedMessageEndsTheStream) {
  HostilePeer peer(authority_.Issue(Folder()), nullptr);
  ASSERT_TRUE(peer.Connect(node_));
  v1::NeighbourMessage message;
  message.mutable_have()->set_blob(std::string(kMaxNeighbourMessageBytes + 1, 'x'));
  (void)peer.Say(message);
  EXPECT_EQ(peer.End().code(), StatusCode::kResourceExhausted);
  EXPECT_TRUE(Eventually([&] { return node_.cluster.neighbours() == 0; }));
  LeaseAll();
  EndsRight();
}

TEST_F(HostilePeerTest, AttestationsWithoutEndTakeBoundedMemoryAndTheTruthIsStillTold) {
  const auto member = authority_.Issue(Folder());
  HostilePeer peer(member, nullptr);
  ASSERT_TRUE(peer.Connect(node_));
  Attester attester({.identity = [&] { return member.identity; }, .cluster = kLab});
  const size_t room = Cluster::kMinAttestationBytes + kPieces * Cluster::kAttestationBytesPerPiece;
  v1::NeighbourMessage message;
  for (size_t said = 0, i = 0; said < 2 * room; said += message.ByteSizeLong(), ++i) {
    *message.mutable_attestation() =
        Must(attester.Sign(digest_, bytes_.size(), PieceIndex{0}, {Digest::Of(std::to_string(i))}));
    ASSERT_TRUE(peer.Say(message));
  }
  LeaseAll();
  EndsRight();
}

TEST_F(HostilePeerTest, APeerThatVanishesAtAnyStageIsForgotten) {
  for (int stage = 0; stage < 4; ++stage) {
    HostilePeer peer(authority_.Issue(Folder()), [](HostilePeer& self, uint64_t at, uint64_t size) {
      return self.Piece(at, size, "x", HostileBody::End::kSilence);
    });
    ASSERT_TRUE(peer.Connect(node_));
    v1::NeighbourMessage interest;
    interest.mutable_interest()->set_blob(ToRaw(digest_));
    interest.mutable_interest()->set_size_bytes(bytes_.size());
    ASSERT_TRUE(stage < 1 || peer.Say(interest));
    ASSERT_TRUE(stage < 2 || peer.Promise(digest_, bytes_.size(), 0, sums_));
    ASSERT_TRUE(stage < 3 || Eventually([&] { return peer.asked() > 0; }));
    peer.Vanish();
    EXPECT_TRUE(Eventually([&] { return node_.cluster.neighbours() == 0; })) << stage;
    EXPECT_TRUE(Eventually([&] { return node_.cluster.Holders(digest_, PieceIndex{0}) == 0; }));
  }
  LeaseAll();
  EndsRight();
  EXPECT_TRUE(NobodyIsBlamed());
}

TEST_F(HostilePeerTest, ASeedKnowsWhichPiecesAreRare) {
  LeaseAll();
  EndsRight();
  HostilePeer peer(authority_.Issue(Folder()), nullptr);
  ASSERT_TRUE(peer.Connect(node_));
  v1::NeighbourMessage interest;
  interest.mutable_interest()->set_blob(ToRaw(digest_));
  interest.mutable_interest()->set_size_bytes(bytes_.size());
  ASSERT_TRUE(peer.Say(interest));
  ASSERT_TRUE(peer.Have(digest_, 2, {sums_[2]}));
  EXPECT_TRUE(Eventually([&] { return node_.cluster.Holders(digest_, PieceIndex{2}) == 1; }));
  EXPECT_EQ(node_.cluster.Holders(digest_, PieceIndex{3}), 0u);
  ASSERT_TRUE(peer.Have(digest_, kPieces, {sums_[0]})) << "beyond the end";
  peer.Vanish();
  EXPECT_TRUE(Eventually([&] { return node_.cluster.Holders(digest_, PieceIndex{2}) == 0; }));
}

TEST_F(HostilePeerTest, WhoMayHaveBeenToldOfABlobLongAgoHearsThatItBeginsAnew) {
  HostilePeer peer(authority_.Issue(Folder()), nullptr);
  ASSERT_TRUE(peer.Connect(node_));
  const std::string other = RandomBytes(2 * kMinPieceSizeBytes, 7);
  ScriptedServer origin(Serving(other));
  const auto fetch = Must(node_.swarm->Fetch(RequestTo(origin, other)));
  EXPECT_TRUE(Eventually([&] {
    return std::ranges::any_of(peer.heard(), [&](const auto& message) {
      return message.goodbye().blob() == ToRaw(Digest::Of(other));
    });
  }));
  node_.Lease(Digest::Of(other), {PieceIndex{0}, 2});
  EXPECT_EQ(fetch->WaitComplete({}, Soon()), OkStatus());
  LeaseAll();
  EndsRight();
}

// --- certificates ---

class StrangerTest : public HostilePeerTest {
 protected:
  struct Stranger {
    const char* what;
    TestAuthority::Member member;
    std::string expected_id;  // whom the tracker names
  };
  std::vector<Stranger> Strangers() {
    using Papers = TestAuthority::Papers;
    const TestAuthority foreign;
    std::vector<Stranger> all{
        {"of another authority", foreign.Issue(Folder()), ""},
        {"of another cluster", authority_.Issue(Folder(), Papers{.cluster = "other"}), ""},
        {"expired", authority_.Issue(Folder(), Papers{.age = std::chrono::hours(25)}), ""},
        {"a manager's", authority_.Issue(Folder(), Papers{.role = net::Role::kManager}), ""}};
    for (Stranger& stranger : all) stranger.expected_id = stranger.member.id;
    all.push_back({"another node's", authority_.Issue(Folder()), std::string(32, 'a')});
    return all;
  }
};

TEST_F(StrangerTest, GetsNoByte) {
  LeaseAll();
  EndsRight();
  for (const Stranger& stranger : Strangers()) {
    if (stranger.expected_id != stranger.member.id) continue;  // a node of the cluster
    net::HttpRequest request;
    request.url = "https://" + node_.member.id + ".peer/v1/blob/sha256/" + digest_.hex();
    request.connect_to = node_.server->address();
    request.tls = std::make_shared<const net::TlsIdentity>(
        net::TlsIdentity{stranger.member.identity->certificate_pem,
                         stranger.member.identity->key_pem, node_.member.identity->ca_pem});
    request.peer_uri = net::Identity{net::Role::kNode, kLab, node_.member.id}.ToUri();
    request.headers.Set("Range", "bytes=0-262143");
    const auto answer = client_->Fetch(request, 64 << 20);
    EXPECT_TRUE(!answer.ok() || answer->status == 403) << stranger.what << " " << answer->status;
  }
}

TEST_F(StrangerTest, OpensNoStream) {
  for (const Stranger& stranger : Strangers()) {
    // One that has expired cannot even be loaded; net/grpc_tls_test.cc has one that does meanwhile.
    if (!net::TlsWatch::Start(stranger.member.files).ok()) continue;
    if (stranger.expected_id != stranger.member.id) continue;
    HostilePeer peer(stranger.member, nullptr);
    EXPECT_FALSE(peer.Connect(node_)) << stranger.what;
  }
  EXPECT_EQ(node_.cluster.neighbours(), 0u);
}

TEST_F(StrangerTest, IsAskedForNothing) {
  int number = 0;
  for (const Stranger& stranger : Strangers()) {
    const std::string small = RandomBytes(4096, 100 + ++number);
    ScriptedServer origin(Serving(small));
    HostilePeer peer(stranger.member, [&](HostilePeer&, uint64_t at, uint64_t size) {
      return HostilePeer::Piece(at, size, small);
    });
    const auto fetch = Must(node_.swarm->Fetch(RequestTo(origin, small)));
    v1::Neighbour neighbour;
    neighbour.set_node_id(stranger.expected_id);
    neighbour.set_data_address(peer.data_address());
    node_.Tell(Digest::Of(small), {neighbour}, /*located=*/true);
    EXPECT_EQ(fetch->WaitComplete({}, Soon()), OkStatus()) << stranger.what;
    EXPECT_EQ(peer.asked(), 0) << stranger.what;
  }
}

TEST_F(StrangerTest, HearsNothingOnAStreamThatTheNodeOpens) {
  for (const Stranger& stranger : Strangers()) {
    const auto tls = net::TlsWatch::Start(stranger.member.files);
    if (!tls.ok()) continue;
    TestNode stranger_node(authority_, registry_);
    const auto service = MakeNeighbourService(stranger_node.cluster, kLab, {});
    const auto control = Must(net::GrpcTlsServer::Start(
        {.listen = "127.0.0.1:0", .tls = *tls, .services = {service.get()}}));
    v1::Neighbour neighbour;
    neighbour.set_node_id(stranger.expected_id);
    neighbour.set_control_address(control->address());
    node_.Tell(digest_, {neighbour});
    std::this_thread::sleep_for(std::chrono::milliseconds(200));  // a stream would be open by then
    EXPECT_EQ(stranger_node.cluster.neighbours(), 0u) << stranger.what;
    control->Shutdown(std::chrono::milliseconds(0));
  }
  LeaseAll();
  EndsRight();
}

}  // namespace
}  // namespace hearth::p2p
