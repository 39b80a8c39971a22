#include "kv/kv.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/mount.h>

#include <filesystem>

#include "base/file.h"

namespace hearth::kv {
namespace {

class Scratch {
 public:
  Scratch() {
    std::string path = (std::filesystem::temp_directory_path() / "hearth-kv-XXXXXX").string();
    CHECK(::mkdtemp(path.data()) != nullptr);
    path_ = path;
  }
  ~Scratch() {
    (void)::umount(path_.c_str());
    (void)RemoveTree(path_);
  }
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

// The same promises for both stores.
class KvTest : public testing::TestWithParam<bool> {
 protected:
  void SetUp() override {
    kv_ =
        GetParam() ? OpenRocksKv({.directory = scratch_.path() / "index"}).value() : MakeMemoryKv();
  }
  std::vector<std::string> Keys(Family family, std::string_view prefix) {
    std::vector<std::string> keys;
    EXPECT_TRUE(kv_->Scan(family, prefix,
                          [&](std::string_view key, std::string_view) {
                            keys.emplace_back(key);
                            return true;
                          })
                    .ok());
    return keys;
  }

  Scratch scratch_;
  std::unique_ptr<Kv> kv_;
};

TEST_P(KvTest, FamiliesAreApart) {
  ASSERT_TRUE(kv_->Put(Family::kBlobs, "k", "blob", Sync::kYes).ok());
  ASSERT_TRUE(kv_->Put(Family::kMeta, "k", "meta", Sync::kNo).ok());
  EXPECT_EQ(*kv_->Get(Family::kBlobs, "k"), "blob");
  EXPECT_EQ(*kv_->Get(Family::kMeta, "k"), "meta");
  EXPECT_EQ(kv_->Get(Family::kPieces, "k").status().code(), StatusCode::kNotFound);
}

TEST_P(KvTest, EmptyKeysAndValuesAndAnyBytes) {
  const std::string odd("\0\xff\n", 3);
  ASSERT_TRUE(kv_->Put(Family::kOrders, odd, odd, Sync::kNo).ok());
  ASSERT_TRUE(kv_->Put(Family::kOrders, "", "", Sync::kNo).ok());
  EXPECT_EQ(*kv_->Get(Family::kOrders, odd), odd);
  EXPECT_EQ(*kv_->Get(Family::kOrders, ""), "");
}

TEST_P(KvTest, BatchAppliesInOrder) {
  Batch batch;
  EXPECT_TRUE(batch.empty());
  batch.Put(Family::kBlobs, "a", "1");
  batch.Put(Family::kBlobs, "a", "2");
  batch.Put(Family::kBlobs, "b", "1");
  batch.Delete(Family::kBlobs, "b");
  ASSERT_TRUE(kv_->Write(batch, Sync::kNo).ok());
  EXPECT_EQ(*kv_->Get(Family::kBlobs, "a"), "2");
  EXPECT_EQ(kv_->Get(Family::kBlobs, "b").status().code(), StatusCode::kNotFound);
}

TEST_P(KvTest, DeleteOfAnAbsentKeyIsFine) {
  EXPECT_TRUE(kv_->Delete(Family::kBlobs, "absent", Sync::kNo).ok());
}

TEST_P(KvTest, ScanIsBytewiseAndBoundedByItsPrefix) {
  for (const std::string key : {"a", "ab", "a\xff", "a\xff\xff", "b", "B", "ac"}) {
    ASSERT_TRUE(kv_->Put(Family::kTasks, key, key, Sync::kNo).ok());
  }
  EXPECT_EQ(Keys(Family::kTasks, "a"),
            (std::vector<std::string>{"a", "ab", "ac", "a\xff", "a\xff\xff"}));
  EXPECT_EQ(Keys(Family::kTasks, "a\xff"), (std::vector<std::string>{"a\xff", "a\xff\xff"}));
  EXPECT_EQ(Keys(Family::kTasks, "").size(), 7u);
  EXPECT_EQ(Keys(Family::kTasks, "zz").size(), 0u);
}

TEST_P(KvTest, ScanAfterGoesOnBehindAKeyThatMayBeGone) {
  for (const std::string key : {"a", "ab", "ad", "b"}) {
    ASSERT_TRUE(kv_->Put(Family::kTasks, key, key, Sync::kNo).ok());
  }
  const auto after = [&](std::string_view prefix, std::string_view key) {
    std::vector<std::string> found;
    EXPECT_TRUE(kv_->ScanAfter(Family::kTasks, prefix, key,
                               [&](auto seen, auto) {
                                 found.emplace_back(seen);
                                 return true;
                               })
                    .ok());
    return found;
  };
  EXPECT_EQ(after("a", "ab"), (std::vector<std::string>{"ad"}));
  EXPECT_EQ(after("a", "ac"), (std::vector<std::string>{"ad"}));
  EXPECT_EQ(after("", "ad"), (std::vector<std::string>{"b"}));
  EXPECT_EQ(after("b", "a"), (std::vector<std::string>{"b"}));
  EXPECT_EQ(after("a", "ad"), (std::vector<std::string>{}));
}

TEST_P(KvTest, ScanSeesTheMomentOfTheCallWhileVisitWrites) {
  for (const std::string key : {"1", "2", "3"}) {
    ASSERT_TRUE(kv_->Put(Family::kTasks, key, "old", Sync::kNo).ok());
  }
  std::string seen;
  ASSERT_TRUE(kv_->Scan(Family::kTasks, "",
                        [&](std::string_view key, std::string_view value) {
                          seen += std::string(key) + std::string(value) + " ";
                          EXPECT_TRUE(kv_->Put(Family::kTasks, "3", "new", Sync::kNo).ok());
                          EXPECT_TRUE(kv_->Put(Family::kTasks, "4", "new", Sync::kNo).ok());
                          EXPECT_TRUE(kv_->Delete(Family::kTasks, "2", Sync::kNo).ok());
                          return true;
                        })
                  .ok());
  EXPECT_EQ(seen, "1old 2old 3old ");
  EXPECT_EQ(Keys(Family::kTasks, ""), (std::vector<std::string>{"1", "3", "4"}));
}

TEST_P(KvTest, ScanStopsWhenAsked) {
  for (const std::string key : {"1", "2", "3"}) {
    ASSERT_TRUE(kv_->Put(Family::kTasks, key, "", Sync::kNo).ok());
  }
  int visits = 0;
  ASSERT_TRUE(kv_->Scan(Family::kTasks, "",
                        [&](std::string_view, std::string_view) { return ++visits < 2; })
                  .ok());
  EXPECT_EQ(visits, 2);
}

INSTANTIATE_TEST_SUITE_P(All, KvTest, testing::Values(false, true),
                         [](const auto& param) { return param.param ? "Rocks" : "Memory"; });

TEST(RocksKvTest, SurvivesReopen) {
  Scratch scratch;
  {
    auto kv = OpenRocksKv({.directory = scratch.path() / "index"}).value();
    for (int i = 0; i < kFamilies; ++i) {
      ASSERT_TRUE(kv->Put(static_cast<Family>(i), "k", std::to_string(i), Sync::kNo).ok());
    }
  }
  auto kv = OpenRocksKv({.directory = scratch.path() / "index"}).value();
  for (int i = 0; i < kFamilies; ++i) {
    EXPECT_EQ(*kv->Get(static_cast<Family>(i), "k"), std::to_string(i));
  }
}

TEST(RocksKvTest, SecondOpenIsRefused) {
  Scratch scratch;
  auto kv = OpenRocksKv({.directory = scratch.path() / "index"}).value();
  const Status second = OpenRocksKv({.directory = scratch.path() / "index"}).status();
  EXPECT_EQ(second.code(), StatusCode::kFailedPrecondition) << second;
}

// A full file system of 64 MiB with an index in it; `fill` leaves as many bytes free as it is told.
class FullDiskTest : public testing::Test {
 protected:
  void SetUp() override {
    if (::mount("tmpfs", scratch_.path().c_str(), "tmpfs", 0, "size=64m") != 0) {
      GTEST_SKIP() << "cannot mount a tmpfs here";
    }
    mounted_ = true;
    kv_ = OpenRocksKv({.directory = scratch_.path() / "index"}).value();
    ASSERT_TRUE(kv_->Put(Family::kBlobs, "before", "1", Sync::kYes).ok());
  }
  void TearDown() override {
    kv_.reset();
    if (mounted_) ::umount2(scratch_.path().c_str(), MNT_DETACH);
  }
  void Leave(uint64_t bytes) const {
    const Fd file = OpenFile(ballast_, O_RDWR | O_CREAT).value();
    const uint64_t free = std::filesystem::space(scratch_.path()).free;
    const auto size = static_cast<int64_t>(FileSize(file.get()).value() + free - bytes);
    ASSERT_EQ(::fallocate(file.get(), 0, 0, size), 0);
  }

  Scratch scratch_;
  const std::filesystem::path ballast_ = scratch_.path() / "ballast";
  std::unique_ptr<Kv> kv_;
  bool mounted_ = false;
};

TEST_F(FullDiskTest, RefusesWritesAndWorksAgainWhenThereIsRoom) {
  Leave(4 << 20);
  const std::string value(1 << 20, 'v');
  Status full;
  for (int i = 0; i < 50 && full.ok(); ++i) {
    full = kv_->Put(Family::kTasks, std::to_string(i), value, Sync::kNo);
  }
  EXPECT_EQ(full.code(), StatusCode::kResourceExhausted) << full;
  EXPECT_EQ(*kv_->Get(Family::kBlobs, "before"), "1") << "reads go on";
  EXPECT_EQ(kv_->Put(Family::kBlobs, "during", value, Sync::kYes).code(),
            StatusCode::kResourceExhausted);
  std::filesystem::remove(ballast_);
  const Status after = kv_->Put(Family::kBlobs, "after", "2", Sync::kYes);
  EXPECT_TRUE(after.ok()) << after;
  kv_.reset();
  kv_ = OpenRocksKv({.directory = scratch_.path() / "index"}).value();
  EXPECT_EQ(*kv_->Get(Family::kBlobs, "before"), "1");
  EXPECT_EQ(*kv_->Get(Family::kBlobs, "after"), "2");
  EXPECT_EQ(*kv_->Get(Family::kTasks, "0"), value);
  EXPECT_FALSE(kv_->Get(Family::kBlobs, "during").ok());
}

// Else nothing on a full disk could be deleted.
TEST_F(FullDiskTest, RecordsDeletionsWithNoByteLeft) {
  Leave(0);
  for (int i = 0; i < 1000; ++i) {
    const Status deleted = kv_->Delete(Family::kBlobs, "before", Sync::kYes);
    ASSERT_TRUE(deleted.ok()) << deleted;
  }
  EXPECT_FALSE(kv_->Get(Family::kBlobs, "before").ok());
}

TEST(RocksKvTest, TooLittleMemoryIsRefused) {
  Scratch scratch;
  EXPECT_EQ(OpenRocksKv({.directory = scratch.path(), .memory_bytes = 1}).status().code(),
            StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace hearth::kv
