#include "plugin/blob_check.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <fstream>

#include "plugin/scratch_store_for_test.h"

namespace hearth::plugin {
namespace {

class BlobCheckTest : public ::testing::Test {
 protected:
  BlobCheckTest() { digest_ = scratch_.Keep("what was committed"); }

  std::filesystem::path Path() const {
    return scratch_.root() / "blobs/sha256" / digest_.hex().substr(0, 2) / digest_.hex();
  }
  bool Dropped() { return DropIfDamaged(blobs(), digest_, {}).value(); }
  bool IsThere() { return blobs().Info(digest_).ok(); }
  store::BlobStore& blobs() { return scratch_.store().blobs(); }
  store::FileTimes TimesOnDisk() {
    return store::FileTimesOf(*blobs().Open(digest_).value()->file()).value();
  }
  // A later time than that of the commit: the kernel's clock for files goes in steps.
  void ChangeUntilSeen(const std::function<void()>& change) {
    do {
      change();
    } while (TimesOnDisk().changed == blobs().Info(digest_)->file.changed);
  }
  void Overwrite(const char* bytes) {
    std::fstream(Path(), std::ios::in | std::ios::out | std::ios::binary) << bytes;
  }

  ScratchStore scratch_;
  Digest digest_;
};

TEST_F(BlobCheckTest, WhatIsAsItWasCommittedStays) {
  EXPECT_EQ(blobs().Info(digest_)->file, TimesOnDisk());
  EXPECT_FALSE(Dropped());
  EXPECT_TRUE(IsThere());
  EXPECT_FALSE(DropIfDamaged(blobs(), Digest::Of("absent"), {}).value());
}

TEST_F(BlobCheckTest, AFlippedByteIsFoundAlsoWhenTheMtimeWasSetBack) {
  struct stat before {};
  ASSERT_EQ(::stat(Path().c_str(), &before), 0);
  ChangeUntilSeen([&] {
    Overwrite("What");
    const timespec times[2] = {before.st_atim, before.st_mtim};
    ASSERT_EQ(::utimensat(AT_FDCWD, Path().c_str(), times, 0), 0);
  });
  EXPECT_EQ(TimesOnDisk().written, blobs().Info(digest_)->file.written);
  EXPECT_TRUE(Dropped());
  EXPECT_FALSE(IsThere());
}

TEST_F(BlobCheckTest, AFileThatIsGoneOrShorterIsDropped) {
  std::filesystem::resize_file(Path(), 4);
  EXPECT_TRUE(Dropped());
  digest_ = scratch_.Keep("another one");
  std::filesystem::remove(Path());
  EXPECT_TRUE(Dropped());
  EXPECT_FALSE(IsThere());
}

// As hand-back makes one.
TEST_F(BlobCheckTest, ALinkCostsOneLookAtTheBytesAndNoMore) {
  int made = 0;
  ChangeUntilSeen(
      [&] { std::filesystem::create_hard_link(Path(), scratch_.root() / std::to_string(made++)); });
  EXPECT_FALSE(Dropped());
  EXPECT_EQ(blobs().Info(digest_)->file, TimesOnDisk());
  EXPECT_TRUE(IsThere());
}

}  // namespace
}  // namespace hearth::plugin
