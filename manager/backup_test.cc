#include "manager/backup.h"

#include <gmock/gmock.h>

#include <fstream>

#include "manager/manager_for_test.h"

namespace hearth::manager {
namespace {

using testing::HasSubstr;

class BackupTest : public ManagerTest {
 protected:
  std::filesystem::path File() const { return root_ / "backup"; }
  std::filesystem::path Fresh() const { return root_ / "fresh"; }
  std::unique_ptr<kv::Kv> Restored() {
    return kv::OpenRocksKv({.directory = Fresh() / "store"}).value();
  }
  static std::string Bytes(const std::filesystem::path& file) {
    return ReadFile(file, 64 << 20).value();
  }
};

TEST_F(BackupTest, GivesEverythingBackAndNoNumberAgain) {
  (void)JoinNode("n1");
  CHECK(kv_->Put(kv::Family::kMeta, "next_job", "41", kv::Sync::kNo).ok());
  for (int i = 0; i < 2'500; ++i) {
    CHECK(kv_->Put(kv::Family::kOrders, "job/" + std::to_string(i), std::string(100, 'j'),
                   kv::Sync::kNo)
              .ok());
  }
  const auto made = WriteBackup(*kv_, root_, File()).value();
  EXPECT_GT(made.records, 2'500u);
  EXPECT_EQ(made.size_bytes, std::filesystem::file_size(File()));
  EXPECT_EQ(std::filesystem::status(File()).permissions(),
            std::filesystem::perms::owner_read | std::filesystem::perms::owner_write);
  EXPECT_EQ(CheckBackup(File())->sum, made.sum);

  ASSERT_EQ(RestoreBackup(File(), Fresh()).status(), OkStatus());
  EXPECT_EQ(Bytes(Fresh() / "ca/ca.key"), Bytes(root_ / "ca/ca.key"));
  const auto kv = Restored();
  EXPECT_EQ(Fleet::Open(*kv, clock_).value()->List().front().profile.name, "n1");
  EXPECT_EQ(kv->Get(kv::Family::kMeta, "next_job").value(), "1000041");
  EXPECT_EQ(kv->Get(kv::Family::kOrders, "job/2499").value().size(), 100u);
  EXPECT_EQ(RestoreBackup(File(), Fresh()).status().code(), StatusCode::kFailedPrecondition);
}

TEST_F(BackupTest, WhatIsCutShortOrChangedIsRefusedAndNothingIsWritten) {
  (void)JoinNode("n1");
  ASSERT_TRUE(WriteBackup(*kv_, root_, File()).ok());
  const std::string whole = Bytes(File());
  for (size_t size = 0; size < whole.size(); size += 37) {
    std::ofstream(File(), std::ios::binary) << whole.substr(0, size);
    ASSERT_EQ(RestoreBackup(File(), Fresh()).status().code(), StatusCode::kDataLoss) << size;
  }
  for (size_t at = 0; at < whole.size(); at += 41) {
    std::string flipped = whole;
    flipped[at] ^= 1;
    std::ofstream(File(), std::ios::binary) << flipped;
    ASSERT_EQ(RestoreBackup(File(), Fresh()).status().code(), StatusCode::kDataLoss) << at;
  }
  EXPECT_FALSE(std::filesystem::exists(Fresh()));
}

TEST_F(BackupTest, OneThatFailsLeavesNothingOnTheDisk) {
  ASSERT_TRUE(WriteBackup(*kv_, root_, File()).ok());
  const std::string before = Bytes(File());
  std::filesystem::remove(root_ / "ca/ca.pem");  // read after the key was written
  EXPECT_EQ(WriteBackup(*kv_, root_, File()).status().code(), StatusCode::kNotFound);
  EXPECT_FALSE(std::filesystem::exists(File().native() + ".part"));
  EXPECT_EQ(Bytes(File()), before) << "the one before stays";
}

// A power cut in mid-restore leaves the authority's files and no store.
TEST_F(BackupTest, ARestoreThatWasCutShortIsDoneAgainAndAnotherAuthorityIsKept) {
  ASSERT_TRUE(WriteBackup(*kv_, root_, File()).ok());
  ASSERT_TRUE(RestoreBackup(File(), Fresh()).ok());
  std::filesystem::remove_all(Fresh() / "store");
  std::filesystem::create_directory(Fresh() / "store.restored");
  EXPECT_EQ(RestoreBackup(File(), Fresh()).status(), OkStatus());
  std::filesystem::remove_all(Fresh() / "store");
  std::ofstream(Fresh() / "ca/ca.key") << "another";
  const auto refused = RestoreBackup(File(), Fresh());
  EXPECT_THAT(refused.status().message(), HasSubstr("ca.key is there"));
}

}  // namespace
}  // namespace hearth::manager
