#include "manager/tokens.h"

#include <gtest/gtest.h>

#include "kv/kv.h"

namespace hearth::manager {
namespace {

using std::chrono::hours;
using std::chrono::minutes;
using std::chrono::seconds;

class TokensTest : public ::testing::Test {
 protected:
  void Reopen() {
    auto opened = Tokens::Open(*kv_, clock_);
    CHECK(opened.ok());
    tokens_ = *std::move(opened);
  }
  TokensTest() { Reopen(); }

  const std::unique_ptr<kv::Kv> kv_ = kv::MakeMemoryKv();
  FakeClock clock_;
  std::unique_ptr<Tokens> tokens_;
};

TEST(ScopeTest, WritingIncludesReadingAndAdminEverything) {
  const std::pair<std::string, std::string> granted[] = {
      {"job", "job:read"},        {"job", "job"},
      {"job:read", "job:read"},   {"node", "node:read"},
      {"admin", "cluster"},       {"admin", "admin:read"},
      {"admin:read", "job:read"}, {"admin:read", "admin:read"}};
  for (const auto& [held, needed] : granted) {
    EXPECT_TRUE(Grants(ParseScope(held).value(), ParseScope(needed).value()))
        << held << " for " << needed;
  }
  const std::pair<std::string, std::string> refused[] = {
      {"job:read", "job"},     {"job", "node:read"},    {"job", "cluster"},
      {"job", "cluster:read"}, {"node", "admin"},       {"admin:read", "admin"},
      {"admin:read", "job"},   {"cluster", "job:read"}, {"node", "admin:read"}};
  for (const auto& [held, needed] : refused) {
    EXPECT_FALSE(Grants(ParseScope(held).value(), ParseScope(needed).value()))
        << held << " for " << needed;
  }
  EXPECT_EQ(ParseScope("jobs").status().code(), StatusCode::kInvalidArgument);
}

TEST_F(TokensTest, ATokenIsKeptAsAHashAndSurvivesARestart) {
  const auto made = tokens_->Create({"ci", {Scope::kJob}, {}});
  ASSERT_TRUE(made.ok()) << made.status();
  const std::string text = made->text.Reveal();
  bool seen = false;
  ASSERT_TRUE(kv_->Scan(kv::Family::kMeta, "",
                        [&](std::string_view key, std::string_view value) {
                          seen = seen || key.find(text.substr(5)) != std::string_view::npos ||
                                 value.find(text.substr(5)) != std::string_view::npos;
                          return true;
                        })
                  .ok());
  EXPECT_FALSE(seen);
  Reopen();
  EXPECT_EQ(tokens_->Check(text).value().name, "ci");
  EXPECT_EQ(tokens_->List().size(), 1u);
}

TEST_F(TokensTest, UnknownExpiredAndRevokedLookTheSame) {
  const auto brief = tokens_->Create({"brief", {Scope::kJob}, seconds(60)});
  const auto gone = tokens_->Create({"gone", {Scope::kJob}, {}});
  ASSERT_TRUE(brief.ok() && gone.ok());
  EXPECT_TRUE(tokens_->Check(brief->text.Reveal()).ok());
  EXPECT_EQ(tokens_->Revoke(gone->token.id), OkStatus());
  EXPECT_EQ(tokens_->Revoke(gone->token.id).code(), StatusCode::kNotFound);
  clock_.Advance(seconds(60));
  const Status unknown = tokens_->Check("hpat_" + std::string(48, '0')).status();
  EXPECT_EQ(unknown.code(), StatusCode::kUnauthenticated);
  EXPECT_EQ(tokens_->Check(brief->text.Reveal()).status(), unknown);
  EXPECT_EQ(tokens_->Check(gone->text.Reveal()).status(), unknown);
  EXPECT_EQ(tokens_->Check("").status(), unknown);
  EXPECT_EQ(tokens_->Check(std::string(1 << 20, 'a')).status(), unknown);
  Reopen();
  EXPECT_EQ(tokens_->Check(gone->text.Reveal()).status(), unknown);
}

TEST_F(TokensTest, LastUseIsKeptToTheMinute) {
  const auto made = tokens_->Create({"ci", {Scope::kJob}, {}});
  ASSERT_TRUE(made.ok());
  EXPECT_FALSE(tokens_->List()[0].last_used);
  (void)tokens_->Check(made->text.Reveal());
  const auto first = tokens_->List()[0].last_used;
  clock_.Advance(seconds(30));
  (void)tokens_->Check(made->text.Reveal());
  EXPECT_EQ(tokens_->List()[0].last_used, first);
  clock_.Advance(minutes(1));
  (void)tokens_->Check(made->text.Reveal());
  Reopen();
  EXPECT_EQ(tokens_->List()[0].last_used, clock_.WallNow());
}

TEST_F(TokensTest, AnOperatorsAdminTokenReplacesItsForerunner) {
  const std::string first = "hpat_" + std::string(32, 'a');
  const std::string second = "hpat_" + std::string(32, 'b');
  EXPECT_EQ(tokens_->SetAdmin("file", Secret<std::string>("short")).code(),
            StatusCode::kInvalidArgument);
  ASSERT_EQ(tokens_->SetAdmin("file", Secret(first)), OkStatus());
  ASSERT_EQ(tokens_->SetAdmin("file", Secret(first)), OkStatus());
  EXPECT_EQ(tokens_->List().size(), 1u);
  ASSERT_EQ(tokens_->SetAdmin("file", Secret(second)), OkStatus());
  Reopen();
  EXPECT_FALSE(tokens_->Check(first).ok());
  EXPECT_EQ(tokens_->Check(second).value().scopes, std::vector<Scope>{Scope::kAdmin});
}

TEST_F(TokensTest, AJoinTokenIsUsedUp) {
  const auto made = tokens_->CreateJoin({"rack 1", "default", hours(1), 2});
  ASSERT_TRUE(made.ok()) << made.status();
  const std::string secret = made->text.Reveal();
  EXPECT_EQ(tokens_->UseJoin(secret, "other").code(), StatusCode::kUnauthenticated);
  EXPECT_EQ(tokens_->UseJoin(secret, "default"), OkStatus());
  Reopen();
  EXPECT_EQ(tokens_->UseJoin(secret, "default"), OkStatus());
  EXPECT_EQ(tokens_->UseJoin(secret, "default").code(), StatusCode::kUnauthenticated);
  Reopen();
  EXPECT_EQ(tokens_->CheckJoin(secret, "default").code(), StatusCode::kUnauthenticated);
  EXPECT_EQ(tokens_->ListJoin()[0].used, 2u);
}

TEST_F(TokensTest, AJoinTokenExpiresAndCanBeRevoked) {
  const auto brief = tokens_->CreateJoin({"brief", "default", hours(1), 9});
  const auto gone = tokens_->CreateJoin({"gone", "default", hours(1), 9});
  ASSERT_TRUE(brief.ok() && gone.ok());
  EXPECT_EQ(tokens_->RevokeJoin(gone->token.id), OkStatus());
  EXPECT_EQ(tokens_->UseJoin(gone->text.Reveal(), "default").code(), StatusCode::kUnauthenticated);
  EXPECT_EQ(tokens_->CheckJoin(brief->text.Reveal(), "default"), OkStatus());
  clock_.Advance(hours(1));
  EXPECT_EQ(tokens_->CheckJoin(brief->text.Reveal(), "default").code(),
            StatusCode::kUnauthenticated);
}

TEST_F(TokensTest, RefusesWhatMakesNoSense) {
  EXPECT_EQ(tokens_->Create({"", {Scope::kJob}, {}}).status().code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(tokens_->Create({"x", {}, {}}).status().code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(tokens_->Create({"x", {Scope::kJob}, seconds(0)}).status().code(),
            StatusCode::kInvalidArgument);
  EXPECT_EQ(tokens_->Create({"a\nb", {Scope::kJob}, {}}).status().code(),
            StatusCode::kInvalidArgument);
  EXPECT_EQ(tokens_->CreateJoin({"x", "default", seconds(0), 1}).status().code(),
            StatusCode::kInvalidArgument);
  EXPECT_EQ(tokens_->CreateJoin({"x", "default", hours(1), 0}).status().code(),
            StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace hearth::manager
