#include "manager/tracker_hub.h"

#include <set>

#include "manager/manager_for_test.h"

namespace hearth::manager {
namespace {

using std::chrono::hours;
using std::chrono::seconds;

std::string Bytes(const Digest& digest) {
  return {reinterpret_cast<const char*>(digest.bytes().data()), digest.bytes().size()};
}

class FakeLink final : public NodeLink {
 public:
  void Send(const v1::ToNode& message) override { sent.push_back(message); }
  void Close(const Status& why) override { closed = why; }

  // The last message of that kind.
  const v1::ToNode* Last(v1::ToNode::WhatCase kind) const {
    for (auto message = sent.rbegin(); message != sent.rend(); ++message) {
      if (message->what_case() == kind) return &*message;
    }
    return nullptr;
  }
  std::vector<v1::ToNode> sent;
  Status closed;
};

class TrackerHubTest : public ManagerTest {
 protected:
  struct Connected {
    Member member;
    std::shared_ptr<FakeLink> link = std::make_shared<FakeLink>();
    TrackerHub::SessionId session = 0;
  };

  TrackerHubTest() { Restart(); }
  void Restart() {
    hub_ = std::make_unique<TrackerHub>(
        TrackerHub::Options{.fleet = *fleet_,
                            .authority = ca_->authority(),
                            .clock = clock_,
                            .seed = 1,
                            .program_version = "0.1.0",
                            .origin_rate = [this](const auto&) { return origin_rate_; },
                            .dropped =
                                [this](const std::string& node_id, const auto& blobs) {
                                  (void)hub_->Readings();  // without its lock
                                  for (const Digest& blob : blobs) dropped_.emplace(node_id, blob);
                                }});
  }
  static v1::Hello Hello(const std::string& name, const std::string& zone = "") {
    v1::Hello hello;
    hello.mutable_versions()->set_protocol_min(1);
    hello.mutable_versions()->set_protocol_max(1);
    hello.mutable_node()->set_name(name);
    hello.mutable_node()->set_data_address(name + ":7734");
    hello.mutable_node()->set_control_address(name + ":7735");
    if (!zone.empty()) (*hello.mutable_node()->mutable_labels())["zone"] = zone;
    return hello;
  }
  Connected Connect(const std::string& name, const std::string& zone = "") {
    Connected node{.member = JoinNode(name)};
    auto opened = hub_->Open(node.member.Peer(), Hello(name, zone), node.link);
    CHECK(opened.ok());
    node.session = *opened;
    return node;
  }
  Status Say(const Connected& node, const v1::FromNode& message) {
    return hub_->Receive(node.session, message);
  }
  static v1::FromNode Join(const Digest& blob, uint64_t size = 100 << 20) {
    v1::FromNode message;
    message.mutable_join()->set_blob(Bytes(blob));
    message.mutable_join()->set_size_bytes(size);
    message.mutable_join()->set_origin_accepts(true);
    return message;
  }
  static v1::FromNode Holds(const std::vector<Digest>& blobs, bool snapshot = true) {
    v1::FromNode message;
    message.mutable_inventory()->set_first(snapshot);
    message.mutable_inventory()->set_last(snapshot);
    for (const Digest& blob : blobs)
      message.mutable_inventory()->mutable_added()->append(Bytes(blob));
    return message;
  }
  std::vector<std::string> Located(const Connected& asker, const Digest& blob) {
    v1::FromNode message;
    message.mutable_locate()->set_blob(Bytes(blob));
    CHECK(Say(asker, message).ok());
    std::vector<std::string> names;
    const auto* answer = asker.link->Last(v1::ToNode::kNeighbours);
    for (const auto& node : answer->neighbours().nodes()) names.push_back(node.name());
    return names;
  }
  v1::Attestation Attest(const Member& member, const Digest& blob, uint32_t piece,
                         const std::string& bytes) {
    v1::PieceSums sums;
    sums.set_blob(Bytes(blob));
    sums.set_size_bytes(100 << 20);
    sums.set_first_piece(piece);
    sums.set_sums(Bytes(Digest::Of(bytes)));
    sums.set_signed_unix_seconds(
        std::chrono::duration_cast<seconds>(clock_.WallNow().time_since_epoch()).count());
    v1::Attestation attestation;
    attestation.set_payload(sums.SerializeAsString());
    attestation.set_certificate(net::Certificate::FromPem(member.chain).value().ToDer());
    attestation.set_signature(
        member.key.Sign(std::string("hearth attestation v1\0", 22) + attestation.payload()));
    return attestation;
  }

  uint64_t origin_rate_ = 0;
  std::set<std::pair<std::string, Digest>> dropped_;
  std::unique_ptr<TrackerHub> hub_;
  const Digest blob_ = Digest::Of("blob");
};

TEST_F(TrackerHubTest, WelcomesANodeAndKnowsWhereItIs) {
  origin_rate_ = 1000;
  const Connected node = Connect("n1");
  const auto* welcome = node.link->Last(v1::ToNode::kWelcome);
  ASSERT_NE(welcome, nullptr);
  EXPECT_EQ(welcome->welcome().protocol(), 1u);
  EXPECT_EQ(welcome->welcome().node_id(), node.member.id);
  EXPECT_EQ(welcome->welcome().settings().origin_bytes_per_second(), 1000u);
  EXPECT_TRUE(fleet_->FindByName("n1")->connected);
  hub_->Closed(node.session);
  EXPECT_FALSE(fleet_->FindByName("n1")->connected);
}

TEST_F(TrackerHubTest, ANewerAndAnOlderNodeWorkAsFarAsTheySpeakOneProtocol) {
  const Member member = JoinNode("n1");
  const auto open = [&](uint32_t oldest, uint32_t newest) {
    v1::Hello hello = Hello("n1");
    hello.mutable_versions()->set_protocol_min(oldest);
    hello.mutable_versions()->set_protocol_max(newest);
    return hub_->Open(member.Peer(), hello, std::make_shared<FakeLink>()).status().code();
  };
  EXPECT_EQ(open(1, 7), StatusCode::kOk);
  EXPECT_EQ(open(0, 1), StatusCode::kOk);
  EXPECT_EQ(open(2, 7), StatusCode::kFailedPrecondition);
  EXPECT_EQ(open(0, 0), StatusCode::kFailedPrecondition);
}

TEST_F(TrackerHubTest, AMessageOfANewerNodeIsPassedOver) {
  const Connected node = Connect("n1");
  v1::FromNode unknown;
  ASSERT_TRUE(unknown.ParseFromString(std::string("\xfa\x07\x02hi", 5)));  // field 127
  EXPECT_EQ(Say(node, unknown), OkStatus());
  EXPECT_EQ(Say(node, Join(blob_)), OkStatus());
}

TEST_F(TrackerHubTest, WhoIsNoNodeOfTheClusterIsRefused) {
  const Member member = JoinNode("n1");
  const auto link = std::make_shared<FakeLink>();
  net::GrpcTlsPeer peer = member.Peer();
  peer.identity.role = net::Role::kManager;
  EXPECT_EQ(hub_->Open(peer, Hello("n1"), link).status().code(), StatusCode::kUnauthenticated);
  EXPECT_EQ(hub_->Open(member.Peer(), Hello("other"), link).status().code(),
            StatusCode::kInvalidArgument);
  ASSERT_EQ(fleet_->Forget(member.id), OkStatus());
  EXPECT_EQ(hub_->Open(member.Peer(), Hello("n1"), link).status().code(), StatusCode::kNotFound);
}

TEST_F(TrackerHubTest, LeasesOneBlobOverTwoNodesWhoMeet) {
  const Connected a = Connect("a");
  const Connected b = Connect("b");
  ASSERT_EQ(Say(a, Join(blob_)), OkStatus());
  ASSERT_EQ(Say(b, Join(blob_)), OkStatus());
  const auto* lease = a.link->Last(v1::ToNode::kLease);
  ASSERT_NE(lease, nullptr);
  EXPECT_EQ(lease->lease().blob(), Bytes(blob_));
  EXPECT_GT(lease->lease().run().count(), 0u);
  const auto* met = b.link->Last(v1::ToNode::kNeighbours);
  ASSERT_NE(met, nullptr);
  ASSERT_EQ(met->neighbours().nodes_size(), 1);
  EXPECT_EQ(met->neighbours().nodes(0).name(), "a");
  EXPECT_EQ(met->neighbours().nodes(0).control_address(), "a:7735");
}

TEST_F(TrackerHubTest, InventoryAnswersForTheDigestAskedNearOnesFirst) {
  const Connected far = Connect("far", "z2");
  const Connected near = Connect("near", "z1");
  const Connected asker = Connect("asker", "z1");
  ASSERT_EQ(Say(far, Holds({blob_})), OkStatus());
  ASSERT_EQ(Say(near, Holds({blob_, Digest::Of("x")})), OkStatus());
  EXPECT_EQ(Located(asker, blob_), (std::vector<std::string>{"near", "far"}));
  EXPECT_EQ(Located(asker, Digest::Of("x")), std::vector<std::string>{"near"});
  EXPECT_EQ(Located(asker, Digest::Of("y")), std::vector<std::string>{});
  EXPECT_EQ(hub_->BlobsOf(fleet_->FindByName("near").value()), 2u);
}

TEST_F(TrackerHubTest, TellsWhichBlobsANodeDroppedWhetherItSaysSoOrNamesThemNoMore) {
  const Digest kept = Digest::Of("kept");
  const Digest removed = Digest::Of("removed");
  const Digest unnamed = Digest::Of("unnamed");
  Connected node = Connect("a");
  EXPECT_EQ(Say(node, Holds({kept, removed, unnamed})), OkStatus());
  EXPECT_TRUE(dropped_.empty());
  v1::FromNode message;
  message.mutable_inventory()->set_removed(Bytes(removed));
  EXPECT_EQ(Say(node, message), OkStatus());
  EXPECT_EQ(dropped_, (decltype(dropped_){{node.member.id, removed}}));
  node.link = std::make_shared<FakeLink>();
  node.session = hub_->Open(node.member.Peer(), Hello("a"), node.link).value();
  EXPECT_EQ(Say(node, Holds({kept})), OkStatus());
  EXPECT_EQ(dropped_, (decltype(dropped_){{node.member.id, removed}, {node.member.id, unnamed}}));
}

TEST_F(TrackerHubTest, InventoryOutlivesABrokenStreamAndForgetsWhatIsNotNamedAgain) {
  Connected node = Connect("n1");
  const Connected asker = Connect("asker");
  const Digest gone = Digest::Of("gone");
  ASSERT_EQ(Say(node, Holds({blob_, gone})), OkStatus());
  hub_->Closed(node.session);
  EXPECT_EQ(Located(asker, blob_), std::vector<std::string>{});  // nobody to connect to now
  node.session = hub_->Open(node.member.Peer(), Hello("n1"), node.link).value();
  EXPECT_EQ(Located(asker, gone), std::vector<std::string>{"n1"});
  ASSERT_EQ(Say(node, Holds({blob_})), OkStatus());
  EXPECT_EQ(Located(asker, gone), std::vector<std::string>{});
  EXPECT_EQ(Located(asker, blob_), std::vector<std::string>{"n1"});
  hub_->Closed(node.session);
  clock_.Advance(TrackerHub::kGrace);
  hub_->Tick();
  EXPECT_EQ(hub_->BlobsOf(fleet_->FindByName("n1").value()), 0u);
}

TEST_F(TrackerHubTest, ASnapshotThatNamesTooManyBlobsEndsTheStream) {
  const Connected node = Connect("n1");
  constexpr size_t kOfOneMessage = 10'000;
  v1::FromNode message = Holds(std::vector<Digest>(kOfOneMessage, blob_));
  message.mutable_inventory()->set_last(false);
  for (size_t named = 0; named < Inventory::kMaxPerNode; named += kOfOneMessage) {
    ASSERT_EQ(Say(node, message), OkStatus());
    message.mutable_inventory()->set_first(false);
  }
  EXPECT_EQ(Say(node, message).code(), StatusCode::kResourceExhausted);
}

TEST_F(TrackerHubTest, ASilentNodeIsGoneAfterThreeHeartbeats) {
  const Connected node = Connect("n1");
  clock_.Advance(3 * TrackerHub::kHeartbeat - seconds(1));
  v1::FromNode beat;
  beat.mutable_heartbeat()->set_disk_free_bytes(7);
  ASSERT_EQ(Say(node, beat), OkStatus());
  hub_->Tick();
  clock_.Advance(3 * TrackerHub::kHeartbeat - seconds(1));
  hub_->Tick();
  EXPECT_EQ(node.link->closed, OkStatus());
  EXPECT_EQ(fleet_->FindByName("n1")->usage.disk_free_bytes, 7u);
  clock_.Advance(seconds(1));
  hub_->Tick();
  EXPECT_EQ(node.link->closed.code(), StatusCode::kDeadlineExceeded);
  EXPECT_EQ(Say(node, beat).code(), StatusCode::kAborted);
}

TEST_F(TrackerHubTest, AStreamEndsWithItsCertificate) {
  const Connected node = Connect("n1");
  v1::FromNode beat;
  (void)beat.mutable_heartbeat();
  for (int i = 0; i < 24 * 180; ++i) {
    clock_.Advance(seconds(20));
    if (!node.link->closed.ok()) break;
    ASSERT_EQ(Say(node, beat), OkStatus());
    hub_->Tick();
  }
  EXPECT_EQ(node.link->closed.code(), StatusCode::kUnauthenticated);
}

TEST_F(TrackerHubTest, ANewerStreamOfANodeReplacesTheOlder) {
  const Connected node = Connect("n1");
  const auto second = std::make_shared<FakeLink>();
  ASSERT_TRUE(hub_->Open(node.member.Peer(), Hello("n1"), second).ok());
  EXPECT_EQ(node.link->closed.code(), StatusCode::kAborted);
  hub_->Closed(node.session);
  EXPECT_TRUE(fleet_->FindByName("n1")->connected);
}

TEST_F(TrackerHubTest, ABanIsPushedAndEndsTheStream) {
  const Connected liar = Connect("liar");
  const Connected node = Connect("n1");
  ASSERT_EQ(hub_->SetBan(liar.member.id, true, "by hand"), OkStatus());
  EXPECT_EQ(liar.link->closed.code(), StatusCode::kPermissionDenied);
  ASSERT_NE(node.link->Last(v1::ToNode::kBans), nullptr);
  EXPECT_EQ(node.link->Last(v1::ToNode::kBans)->bans().banned(0), liar.member.id);
  EXPECT_EQ(hub_->Open(liar.member.Peer(), Hello("liar"), liar.link).status().code(),
            StatusCode::kPermissionDenied);
  // Who comes later hears of it at once.
  EXPECT_EQ(Connect("n2").link->Last(v1::ToNode::kWelcome)->welcome().bans().banned(0),
            liar.member.id);
  ASSERT_EQ(hub_->SetBan(liar.member.id, false, ""), OkStatus());
  EXPECT_EQ(node.link->Last(v1::ToNode::kBans)->bans().unbanned(0), liar.member.id);
  EXPECT_TRUE(hub_->Open(liar.member.Peer(), Hello("liar"), liar.link).ok());
}

TEST_F(TrackerHubTest, EnoughAccusationsBan) {
  const Connected liar = Connect("liar");
  ASSERT_EQ(Say(liar, Join(blob_)), OkStatus());
  std::vector<Connected> nodes;
  for (int i = 0; i < 5; ++i) {
    nodes.push_back(Connect("n" + std::to_string(i)));
    ASSERT_EQ(Say(nodes.back(), Join(blob_)), OkStatus());
  }
  for (const Connected& node : nodes) {
    EXPECT_EQ(fleet_->FindByName("liar")->banned, node.member.name > "n2") << node.member.name;
    v1::FromNode blame;
    blame.mutable_blame()->set_blob(Bytes(blob_));
    blame.mutable_blame()->set_node_id(liar.member.id);
    blame.mutable_blame()->set_kind(v1::Blame::SERVED_WRONG);
    ASSERT_EQ(Say(node, blame), OkStatus());
  }
  EXPECT_TRUE(fleet_->FindByName("liar")->banned);
  EXPECT_EQ(liar.link->closed.code(), StatusCode::kPermissionDenied);
}

TEST_F(TrackerHubTest, AProofMustBeTheAccusedsOwnWord) {
  const Connected honest = Connect("honest");
  const Connected accuser = Connect("accuser");
  const auto accuse = [&](const v1::Attestation& proof, uint32_t piece) {
    v1::FromNode blame;
    blame.mutable_blame()->set_blob(Bytes(blob_));
    blame.mutable_blame()->set_node_id(honest.member.id);
    blame.mutable_blame()->set_piece(piece);
    blame.mutable_blame()->set_kind(v1::Blame::ATTESTED_WRONG);
    *blame.mutable_blame()->mutable_proof() = proof;
    const size_t before = accuser.link->sent.size();
    CHECK(Say(accuser, blame).ok());
    return accuser.link->sent.size() == before;  // nothing was refused
  };
  EXPECT_TRUE(accuse(Attest(honest.member, blob_, 3, "wrong"), 3));
  EXPECT_FALSE(accuse(Attest(honest.member, blob_, 3, "wrong"), 4));
  EXPECT_FALSE(accuse(Attest(honest.member, Digest::Of("other"), 3, "wrong"), 3));
  EXPECT_FALSE(accuse(Attest(accuser.member, blob_, 3, "wrong"), 3));
  v1::Attestation changed = Attest(honest.member, blob_, 3, "wrong");
  changed.set_payload(Attest(honest.member, blob_, 3, "worse").payload());
  EXPECT_FALSE(accuse(changed, 3));
  EXPECT_FALSE(accuse({}, 3));
  const v1::Attestation old = Attest(honest.member, blob_, 3, "wrong");
  v1::FromNode beat;
  (void)beat.mutable_heartbeat();
  clock_.Advance(hours(49));
  EXPECT_FALSE(accuse(old, 3));
}

TEST_F(TrackerHubTest, AnAttestationCountsOnlyFromItsSigner) {
  const Connected node = Connect("n1");
  const Connected other = Connect("n2");
  v1::FromNode message;
  *message.mutable_attestation() = Attest(node.member, blob_, 0, "bytes");
  EXPECT_EQ(Say(node, message), OkStatus());
  EXPECT_EQ(Say(other, message).code(), StatusCode::kUnauthenticated);
}

TEST_F(TrackerHubTest, MalformedMessagesEndTheStream) {
  const Connected node = Connect("n1");
  std::vector<v1::FromNode> wrong(9);
  wrong[0].mutable_join()->set_blob("short");
  wrong[1] = Join(blob_);
  wrong[1].mutable_join()->set_present("x");
  wrong[2].mutable_inventory()->set_added("odd");
  wrong[3].mutable_inventory()->set_added(std::string(32 * 16'385, 'x'));
  wrong[4].mutable_fetched()->set_blob(Bytes(blob_));
  (void)wrong[4].mutable_fetched()->add_runs();
  wrong[5].mutable_missing()->set_blob(Bytes(blob_));
  wrong[5].mutable_missing()->add_runs()->set_first(UINT32_MAX);
  wrong[5].mutable_missing()->mutable_runs(0)->set_count(UINT32_MAX);
  *wrong[6].mutable_hello() = Hello("n1");
  wrong[7].mutable_attestation()->set_payload(std::string(1 << 20, 'x'));
  wrong[8].mutable_locate();
  for (size_t i = 0; i < wrong.size(); ++i) {
    EXPECT_EQ(Say(node, wrong[i]).code(), StatusCode::kInvalidArgument) << i;
  }
}

TEST_F(TrackerHubTest, ABlobOfImpossibleSizeIsRefusedAndTheStreamGoesOn) {
  const Connected node = Connect("n1");
  for (const uint64_t size : {uint64_t{0}, UINT64_MAX, uint64_t{1} << 45}) {
    EXPECT_EQ(Say(node, Join(blob_, size)), OkStatus()) << size;
    ASSERT_NE(node.link->Last(v1::ToNode::kRefused), nullptr) << size;
    node.link->sent.clear();
  }
}

TEST_F(TrackerHubTest, AStrictRegistrysBlobHasNoNeighbours) {
  const Connected a = Connect("a");
  const Connected b = Connect("b");
  ASSERT_EQ(Say(a, Join(blob_)), OkStatus());
  v1::FromNode strict = Join(blob_);
  strict.mutable_join()->set_strict(true);
  ASSERT_EQ(Say(b, strict), OkStatus());
  EXPECT_EQ(b.link->Last(v1::ToNode::kNeighbours)->neighbours().nodes_size(), 0);
  EXPECT_EQ(b.link->Last(v1::ToNode::kLease), nullptr);
}

TEST_F(TrackerHubTest, TheOriginsRateIsSharedAndToldAgainWhenItChanges) {
  const Connected a = Connect("a");
  const Connected b = Connect("b");
  origin_rate_ = 100;
  hub_->SettingsChanged();
  for (const Connected* node : {&a, &b}) {
    const auto* told = node->link->Last(v1::ToNode::kSettings);
    ASSERT_NE(told, nullptr);
    EXPECT_EQ(told->settings().origin_share_bytes_per_second(), 50u);
    node->link->sent.clear();
  }
  hub_->SettingsChanged();
  EXPECT_TRUE(a.link->sent.empty());
}

TEST_F(TrackerHubTest, ForgettingEndsTheStreamAndFreesTheName) {
  const Connected node = Connect("n1");
  EXPECT_EQ(hub_->Forget(node.member.id), OkStatus());
  EXPECT_EQ(node.link->closed.code(), StatusCode::kNotFound);
  EXPECT_NE(Connect("n1").member.id, node.member.id);
  EXPECT_EQ(hub_->Forget(node.member.id).code(), StatusCode::kNotFound);
}

}  // namespace
}  // namespace hearth::manager
