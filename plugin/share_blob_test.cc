#include "plugin/share_blob.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

namespace hearth::plugin {
namespace {

class ShareBlobTest : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ = std::filesystem::path(::testing::TempDir()) /
              ("share-" + std::to_string(::getpid()) + "-" +
               ::testing::UnitTest::GetInstance()->current_test_info()->name());
    std::filesystem::create_directories(folder_);
    std::ofstream(folder_ / "from") << kText;
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  Result<SharedBy> Share(const Digest& digest, const std::stop_token& stop = {}) {
    const Fd source = TRY(OpenFile(folder_ / "from", O_RDONLY));
    return ShareBlob(source, folder_ / "to", digest, 0444, stop);
  }

  static constexpr const char* kText = "the bytes of a blob";
  std::filesystem::path folder_;
};

TEST_F(ShareBlobTest, BytesHaveTwoPlaces) {
  const auto how = Share(Digest::Of(kText));
  ASSERT_TRUE(how.ok()) << how.status();
  EXPECT_NE(*how, SharedBy::kThere);
  EXPECT_EQ(ReadFile(folder_ / "to", 100).value(), kText);
  std::filesystem::remove(folder_ / "from");
  EXPECT_EQ(ReadFile(folder_ / "to", 100).value(), kText);
}

TEST_F(ShareBlobTest, WhatWasAtThePlaceGoesAndIsNotWrittenInto) {
  std::ofstream(folder_ / "to") << "half a blob of a run that was killed";
  std::filesystem::create_hard_link(folder_ / "to", folder_ / "other");
  ASSERT_TRUE(Share(Digest::Of(kText)).ok());
  EXPECT_EQ(ReadFile(folder_ / "to", 100).value(), kText);
  EXPECT_EQ(ReadFile(folder_ / "other", 100).value(), "half a blob of a run that was killed");
}

TEST_F(ShareBlobTest, WrongBytesLeaveNoFile) {
  const auto how = Share(Digest::Of("other bytes"));
  EXPECT_EQ(how.status().code(), StatusCode::kDataLoss);
  EXPECT_NE(how.status().message().find(Digest::Of(kText).ToString()), std::string::npos);
  EXPECT_FALSE(std::filesystem::exists(folder_ / "to"));
}

TEST_F(ShareBlobTest, CancelledLeavesNoFile) {
  std::stop_source stop;
  stop.request_stop();
  EXPECT_EQ(Share(Digest::Of(kText), stop.get_token()).status().code(), StatusCode::kCancelled);
  EXPECT_FALSE(std::filesystem::exists(folder_ / "to"));
}

TEST_F(ShareBlobTest, AFileWithoutANameIsCopied) {
  const Fd source = OpenFile(folder_ / "from", O_RDONLY).value();
  std::filesystem::remove(folder_ / "from");
  const auto how = ShareBlob(source, folder_ / "to", Digest::Of(kText), 0444, {});
  ASSERT_TRUE(how.ok()) << how.status();
  EXPECT_NE(*how, SharedBy::kLink);
  EXPECT_EQ(ReadFile(folder_ / "to", 100).value(), kText);
  struct stat status {};
  ASSERT_EQ(::stat((folder_ / "to").c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777, 0444u);
}

}  // namespace
}  // namespace hearth::plugin
