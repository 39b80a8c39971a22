#include "manager/audit.h"

#include <gtest/gtest.h>

namespace hearth::manager {
namespace {

class AuditTest : public ::testing::Test {
 protected:
  AuditTest() { Restart(); }
  void Restart() { audit_ = Audit::Open(*kv_, clock_).value(); }
  void Add(const std::string& path) {
    audit_->Add({.method = "POST", .path = path, .token_id = "t", .outcome = "ok"});
  }

  FakeClock clock_;
  const std::unique_ptr<kv::Kv> kv_ = kv::MakeMemoryKv();
  std::unique_ptr<Audit> audit_;
};

TEST_F(AuditTest, TheLatestComeFirstAlsoAfterARestart) {
  for (const char* path : {"/1", "/2", "/3"}) Add(path);
  Restart();
  Add("/4");
  const auto page = audit_->List(1, 2).value();
  EXPECT_EQ(page.total, 4u);
  ASSERT_EQ(page.entries.size(), 2u);
  EXPECT_EQ(page.entries[0].path, "/3");
  EXPECT_EQ(page.entries[0].id, 3u);
  EXPECT_EQ(page.entries[0].at, clock_.WallNow());
  EXPECT_EQ(page.entries[1].path, "/2");
  EXPECT_TRUE(audit_->List(4, 10)->entries.empty());
}

TEST_F(AuditTest, KeepsSoManyAndTextsOfBoundedSize) {
  for (uint64_t i = 0; i < Audit::kMaxEntries + 5; ++i) Add("/" + std::to_string(i));
  Restart();
  EXPECT_EQ(audit_->List(0, 1)->total, Audit::kMaxEntries);
  EXPECT_EQ(audit_->List(Audit::kMaxEntries - 1, 5)->entries.front().path, "/5");
  Add(std::string(100'000, 'x'));
  EXPECT_EQ(audit_->List(0, 1)->entries.front().path.size(), Audit::kMaxTextBytes);
}

}  // namespace
}  // namespace hearth::manager
