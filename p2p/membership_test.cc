#include "p2p/membership.h"

#include <gtest/gtest.h>

#include "p2p/manager_client_test.h"

namespace hearth::p2p {
namespace {

using std::chrono::hours;

class MembershipTest : public testing::Test {
 protected:
  std::unique_ptr<Membership> Open(const std::string& manager, const std::string& token = "") {
    Membership::Options options{.folder = folder_,
                                .managers = {manager},
                                .cluster = kLab,
                                .join_token_file = "",
                                .node = {},
                                .joined = [this] { ++joined_; }};
    options.node.name = "n";
    if (!token.empty()) {
      options.join_token_file = scratch_.path() / "token";
      EXPECT_TRUE(WriteFileAtomically(options.join_token_file, token + "\n", 0600).ok());
    }
    return Must(Membership::Open(std::move(options)));
  }
  // As an earlier life left it, so long ago.
  void LeaveCertificate(TestAuthority::Papers papers) {
    const net::PrivateKey key = Must(EnrollClient(folder_).Key());
    const auto files = EnrollClient(folder_).files();
    const std::string chain = authority_.Sign(net::SigningRequest::MakePem(key), papers);
    ASSERT_TRUE(WriteFileAtomically(files.certificate, chain).ok());
    ASSERT_TRUE(WriteFileAtomically(files.authority, authority_.pem()).ok());
  }

  TestAuthority authority_;
  store::Scratch scratch_;
  const std::filesystem::path folder_ = scratch_.path() / "identity";
  std::atomic<int> joined_ = 0;
};

TEST_F(MembershipTest, JoinsWithItsTokenAndIsTheSameNodeAfterARestart) {
  TestManager manager(authority_);
  auto node = Open(manager.address(), manager.JoinToken());
  EXPECT_EQ(node->identity(), nullptr);
  EXPECT_FALSE(node->state().ok());
  node->Start();
  ASSERT_TRUE(Eventually([&] { return joined_ == 1; }));
  EXPECT_NE(node->identity(), nullptr);
  EXPECT_EQ(node->state(), OkStatus());
  const std::string id = node->node_id();
  node = nullptr;
  node = Open("127.0.0.1:1");
  EXPECT_EQ(node->node_id(), id);
  EXPECT_NE(node->identity(), nullptr) << "at once, with no manager there";
  EXPECT_EQ(manager.joins, 1);
}

TEST_F(MembershipTest, AManagerThatIsNotThereYetIsWaitedFor) {
  auto manager = std::make_unique<TestManager>(authority_);
  const std::string address = manager->address();
  const std::string token = manager->JoinToken();
  manager = nullptr;
  const auto node = Open(address, token);
  node->Start();
  EXPECT_TRUE(Eventually([&] { return node->state().message() != "not joined yet"; }));
  EXPECT_EQ(joined_, 0);
  manager = std::make_unique<TestManager>(
      authority_, TestAuthority::Papers{.role = net::Role::kManager}, address);
  EXPECT_TRUE(Eventually([&] { return joined_ == 1; }));
}

TEST_F(MembershipTest, ACertificateIsRenewedWellBeforeItsEnd) {
  TestManager manager(authority_);
  LeaveCertificate({.age = hours(17)});
  const auto node = Open(manager.address());
  const auto before = node->identity();
  ASSERT_NE(before, nullptr);
  node->Start();
  EXPECT_TRUE(Eventually([&] { return manager.renewals == 1 && node->identity() != before; }));
  EXPECT_EQ(manager.joins, 0);
  EXPECT_EQ(node->state(), OkStatus());
}

TEST_F(MembershipTest, ACertificateThatIsStillGoodIsUsedWhileNoManagerAnswers) {
  LeaveCertificate({.age = hours(23)});
  const auto node = Open("127.0.0.1:1");
  node->Start();
  EXPECT_TRUE(Eventually([&] { return joined_ == 1; }));
  EXPECT_NE(node->identity(), nullptr);
  EXPECT_EQ(node->state(), OkStatus());
}

TEST_F(MembershipTest, AnExpiredOrForeignCertificateIsNoMembership) {
  using Papers = TestAuthority::Papers;
  for (const Papers& papers :
       {Papers{.age = hours(25)}, Papers{.cluster = "other"}, Papers{.id = std::string(32, 'a')}}) {
    LeaveCertificate(papers);
    EXPECT_EQ(Open("127.0.0.1:1")->identity(), nullptr);
  }
  TestManager manager(authority_);
  const auto node = Open(manager.address(), manager.JoinToken());
  node->Start();
  EXPECT_TRUE(Eventually([&] { return joined_ == 1; })) << "it joins anew";
}

TEST_F(MembershipTest, AManagerOfAnotherAuthorityNeverSeesTheSecret) {
  TestAuthority foreign;
  TestManager impostor(foreign);
  const auto node = Open(impostor.address(), "hjt_secret." + authority_.fingerprint().hex());
  node->Start();
  EXPECT_TRUE(Eventually([&] { return node->state().code() == StatusCode::kUnauthenticated; }));
  EXPECT_EQ(impostor.joins, 0);
  EXPECT_EQ(node->identity(), nullptr);
}

}  // namespace
}  // namespace hearth::p2p
