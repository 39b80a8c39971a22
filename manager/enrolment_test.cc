#include <gmock/gmock.h>

#include "manager/manager_for_test.h"

namespace hearth::manager {
namespace {

using std::chrono::hours;
using testing::HasSubstr;

using EnrolmentTest = ManagerTest;

TEST_F(EnrolmentTest, ANodeGetsACertificateOfItsOwn) {
  const Member node = JoinNode("n1");
  const auto peer = node.Peer();
  EXPECT_EQ(peer.identity, (net::Identity{net::Role::kNode, "default", node.id}));
  EXPECT_EQ(node.id, node.key.PublicKeyHash().hex().substr(0, 32));
  EXPECT_EQ(peer.certificate.CommonName(), "n1");
  EXPECT_EQ(peer.certificate.CheckIssuedBy(ca_->authority(), clock_.WallNow()), OkStatus());
  EXPECT_EQ(fleet_->FindByName("n1").value().id, node.id);
}

TEST_F(EnrolmentTest, WithoutAValidTokenNothingIsSaidAndNothingKept) {
  const net::PrivateKey key = net::PrivateKey::Generate();
  auto request = JoinRequest(std::string(48, '0'), "n1", key);
  EXPECT_EQ(enrolment_->Join(request, "10.0.0.1").status().code(), StatusCode::kUnauthenticated);
  // Not even that the rest is wrong.
  request.set_signing_request("garbage");
  request.mutable_node()->set_name("");
  EXPECT_EQ(enrolment_->Join(request, "10.0.0.1").status().code(), StatusCode::kUnauthenticated);
  EXPECT_TRUE(fleet_->List().empty());
}

TEST_F(EnrolmentTest, ATokenIsUsedUpByCertificatesNotByMistakes) {
  const net::PrivateKey key = net::PrivateKey::Generate();
  const std::string secret = JoinSecret();
  auto wrong = JoinRequest(secret, "n 1", key);
  EXPECT_EQ(enrolment_->Join(wrong, "a").status().code(), StatusCode::kInvalidArgument);
  wrong = JoinRequest(secret, "n1", key);
  wrong.set_signing_request("garbage");
  EXPECT_EQ(enrolment_->Join(wrong, "a").status().code(), StatusCode::kInvalidArgument);
  EXPECT_TRUE(enrolment_->Join(JoinRequest(secret, "n1", key), "a").ok());
  EXPECT_EQ(
      enrolment_->Join(JoinRequest(secret, "n2", net::PrivateKey::Generate()), "a").status().code(),
      StatusCode::kUnauthenticated);
}

TEST_F(EnrolmentTest, ANameIsBoundToItsFirstKey) {
  const Member first = JoinNode("n1");
  const auto second =
      enrolment_->Join(JoinRequest(JoinSecret(), "n1", net::PrivateKey::Generate()), "a");
  EXPECT_EQ(second.status().code(), StatusCode::kAlreadyExists);
  EXPECT_THAT(second.status().message(), HasSubstr("hearth nodes forget n1"));
  // Nor has its key two names.
  EXPECT_EQ(enrolment_->Join(JoinRequest(JoinSecret(), "n2", first.key), "a").status().code(),
            StatusCode::kAlreadyExists);
  // The same node may come again, also after a restart of the manager.
  Reopen();
  EXPECT_EQ(enrolment_->Join(JoinRequest(JoinSecret(), "n1", first.key), "a")->node_id(), first.id);
  EXPECT_EQ(fleet_->Forget(first.id), OkStatus());
  EXPECT_NE(JoinNode("n1").id, first.id);
}

TEST_F(EnrolmentTest, ABannedNodeGetsNoCertificate) {
  const Member node = JoinNode("n1");
  ASSERT_EQ(fleet_->SetBan(node.id, true, "served wrong bytes"), OkStatus());
  Reopen();
  EXPECT_EQ(enrolment_->Join(JoinRequest(JoinSecret(), "n1", node.key), "a").status().code(),
            StatusCode::kPermissionDenied);
  v1::RenewRequest renew;
  renew.set_signing_request(net::SigningRequest::MakePem(node.key));
  EXPECT_EQ(enrolment_->Renew(renew, node.Peer()).status().code(), StatusCode::kPermissionDenied);
}

TEST_F(EnrolmentTest, RenewsForTheSameKeyOnly) {
  const Member node = JoinNode("n1");
  clock_.Advance(hours(20));
  v1::RenewRequest renew;
  renew.set_signing_request(net::SigningRequest::MakePem(node.key));
  const auto renewed = enrolment_->Renew(renew, node.Peer());
  ASSERT_TRUE(renewed.ok()) << renewed.status();
  const auto certificate = net::Certificate::FromPem(renewed->certificate_chain()).value();
  EXPECT_EQ(certificate.NotAfter(), clock_.WallNow() + hours(24));
  renew.set_signing_request(net::SigningRequest::MakePem(net::PrivateKey::Generate()));
  EXPECT_EQ(enrolment_->Renew(renew, node.Peer()).status().code(), StatusCode::kInvalidArgument);
  renew.set_signing_request(net::SigningRequest::MakePem(node.key));
  ASSERT_EQ(fleet_->Forget(node.id), OkStatus());
  EXPECT_EQ(enrolment_->Renew(renew, node.Peer()).status().code(), StatusCode::kNotFound);
}

TEST_F(EnrolmentTest, GuessesAreSlowedDownForOneAddressOnly) {
  const net::PrivateKey key = net::PrivateKey::Generate();
  const auto guess = JoinRequest(std::string(48, '0'), "n1", key);
  for (uint32_t i = 0; i < Throttle::kMaxFailures; ++i) {
    EXPECT_EQ(enrolment_->Join(guess, "bad").status().code(), StatusCode::kUnauthenticated);
  }
  EXPECT_EQ(enrolment_->Join(guess, "bad").status().code(), StatusCode::kResourceExhausted);
  EXPECT_EQ(enrolment_->Join(guess, "good").status().code(), StatusCode::kUnauthenticated);
  clock_.Advance(Throttle::kWindow);
  EXPECT_EQ(enrolment_->Join(guess, "bad").status().code(), StatusCode::kUnauthenticated);
}

TEST_F(EnrolmentTest, TheAuthorityOutlivesARestartAndItsOwnCertificateIsRenewed) {
  const std::string authority = ca_->authority().ToPem();
  const auto first = net::Certificate::FromPem(ca_->identity()->certificate_pem).value();
  Reopen();
  EXPECT_EQ(ca_->authority().ToPem(), authority);
  clock_.Advance(hours(8));
  ASSERT_EQ(ca_->RenewOwn(), OkStatus());
  const auto second = net::Certificate::FromPem(ca_->identity()->certificate_pem).value();
  EXPECT_GT(second.NotAfter(), first.NotAfter());
  EXPECT_EQ(second.PublicKeyHash(), first.PublicKeyHash());
  for (const char* file : {"ca/ca.key", "ca/manager.key"}) {
    EXPECT_EQ(std::filesystem::status(root_ / file).permissions(),
              std::filesystem::perms::owner_read | std::filesystem::perms::owner_write);
  }
}

TEST_F(EnrolmentTest, FilesThatDoNotBelongTogetherStopTheStart) {
  std::filesystem::remove(root_ / "ca/ca.key");
  EXPECT_EQ(ClusterCa::Open({.root = root_, .clock = clock_, .hosts = {}}).status().code(),
            StatusCode::kFailedPrecondition);
}

}  // namespace
}  // namespace hearth::manager
