#include "store/blob_store.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <algorithm>
#include <fstream>
#include <future>

#include "store/blob_store_for_test.h"
#include "store/blocking.h"
#include "store/pieces.h"

namespace hearth::store {
namespace {

using std::chrono::hours;
using std::chrono::seconds;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

TEST_F(BlobStoreTest, ABlobLargerThanTheDiskIsRefusedBeforeItsFirstByte) {
  const Digest digest = Digest::Of("huge");
  const auto grown = store_->Grow(digest, uint64_t{1} << 50);
  EXPECT_EQ(grown.status().code(), StatusCode::kResourceExhausted);
  EXPECT_THAT(grown.status().message(), HasSubstr(digest.ToString()));
  EXPECT_THAT(grown.status().message(), HasSubstr("1125899906842624 bytes"));
  EXPECT_FALSE(std::filesystem::exists(PathOf(digest)));
}

TEST_F(BlobStoreTest, AFullDiskFailsTheWriteAndKeepsWhatIsThere) {
  const std::string bytes = RandomBytes(2 * kMinPieceSizeBytes, 11);
  const std::string_view view = bytes;
  auto blob = Grow(bytes);
  ASSERT_TRUE(blob->Write(0, view.substr(0, kMinPieceSizeBytes)).ok());
  fault_.FailAt(1, false);
  const Status full = blob->Write(kMinPieceSizeBytes, view.substr(kMinPieceSizeBytes));
  EXPECT_EQ(full.code(), StatusCode::kResourceExhausted);
  EXPECT_EQ(blob->FirstMissing(), kMinPieceSizeBytes);
  blob->Fail(full);
  blob = Grow(bytes);
  EXPECT_EQ(blob->FirstMissing(), kMinPieceSizeBytes);
  ASSERT_TRUE(blob->Write(kMinPieceSizeBytes, view.substr(kMinPieceSizeBytes)).ok());
  EXPECT_TRUE(blob->WaitComplete({}, Soon()).ok());
}

TEST_F(BlobStoreTest, ClaimsAndPreheats) {
  const Digest plain = Add("plain"), warm = Add("warm"), pinned = Add("pinned");
  EXPECT_EQ(store_->Claim(Digest::Of("absent")).status().code(), StatusCode::kNotFound);
  EXPECT_EQ(store_->Preheat(Digest::Of("absent"), {}).code(), StatusCode::kNotFound);
  EXPECT_TRUE(store_->Unclaim(Digest::Of("absent")).ok());
  for (const auto& digest : {plain, warm, pinned}) EXPECT_TRUE(store_->Claim(digest)->claimed);
  ASSERT_TRUE(store_->Preheat(warm, {}).ok());
  ASSERT_TRUE(store_->Preheat(pinned, clock_.WallNow() + hours(1)).ok());
  ASSERT_TRUE(store_->Preheat(pinned, clock_.WallNow() + hours(2)).ok());
  ASSERT_TRUE(store_->Preheat(pinned, clock_.WallNow()).ok());
  EXPECT_EQ(store_->Info(pinned)->pinned_until, clock_.WallNow() + hours(2)) << "only later";
  for (const auto& digest : {plain, warm, pinned}) EXPECT_TRUE(store_->Unclaim(digest).ok());
  EXPECT_EQ(InfoCode(plain), StatusCode::kNotFound);
  EXPECT_FALSE(std::filesystem::exists(PathOf(plain)));
  EXPECT_FALSE(store_->Info(warm)->claimed);
  ASSERT_TRUE(store_->Claim(warm).ok());
  ASSERT_TRUE(store_->DropAllClaims().ok());
  EXPECT_FALSE(store_->Info(warm)->claimed);
  EXPECT_EQ(InfoCode(warm), StatusCode::kOk);
}

TEST_F(BlobStoreTest, APreheatThatIsTakenBackStaysOnlyWhereItIsClaimed) {
  const Digest hidden = Add("hidden"), used = Add("used");
  EXPECT_EQ(store_->DropPreheat(Digest::Of("absent")).status().code(), StatusCode::kNotFound);
  for (const auto& digest : {hidden, used}) {
    ASSERT_TRUE(store_->Preheat(digest, clock_.WallNow() + hours(1)).ok());
    ASSERT_TRUE(store_->Unclaim(digest).ok());
  }
  ASSERT_TRUE(store_->Claim(used).ok());
  EXPECT_TRUE(store_->DropPreheat(hidden).value());
  EXPECT_EQ(InfoCode(hidden), StatusCode::kNotFound);
  EXPECT_FALSE(std::filesystem::exists(PathOf(hidden)));
  EXPECT_FALSE(store_->DropPreheat(used).value());
  EXPECT_FALSE(store_->Info(used)->preheated);
  EXPECT_EQ(store_->Info(used)->pinned_until, WallTime());
  ASSERT_TRUE(store_->Unclaim(used).ok());
  EXPECT_EQ(InfoCode(used), StatusCode::kNotFound);
}

TEST_F(BlobStoreTest, LabelsAreChangedOrReplaced) {
  const Digest digest = Add("labels");
  const auto created = clock_.WallNow();
  clock_.Advance(std::chrono::nanoseconds(7));
  ASSERT_TRUE(store_->UpdateLabels(digest, {{"a", "1"}, {"b", "2"}}, true).ok());
  const auto info = store_->UpdateLabels(digest, {{"a", ""}, {"c", "3"}}, false);
  EXPECT_THAT(info->labels, ElementsAre(std::pair<const std::string, std::string>("b", "2"),
                                        std::pair<const std::string, std::string>("c", "3")));
  EXPECT_EQ(store_->Info(digest)->updated, created + std::chrono::nanoseconds(7));
  EXPECT_EQ(store_->Info(digest)->created, created);
  EXPECT_TRUE(store_->UpdateLabels(digest, {{"d", "4"}}, true)->labels.contains("d"));
  EXPECT_EQ(store_->Info(digest)->labels.size(), 1u);
}

// containerd's Info is a Claim, asked under its database lock.
TEST_F(BlobStoreTest, TheSyncOfOneDigestHoldsUpNoOther) {
  GatedDisk disk;
  disk.Open();
  ReopenOn(disk);
  std::vector<Digest> others;
  for (int i = 0; i < 300; ++i) others.push_back(Add("blob " + std::to_string(i)));
  const std::string bytes = RandomBytes(2 * kMinPieceSizeBytes, 1);
  const auto failing = Grow(bytes);
  ASSERT_TRUE(failing->Write(0, std::string_view(bytes).substr(0, kMinPieceSizeBytes)).ok());
  disk.Close();
  // What arrived is synced while nobody may take the blob up again.
  auto failed = std::async(std::launch::async, [&] { failing->Fail(Unavailable("gave up")); });
  ASSERT_TRUE(disk.AwaitWaiting(1, Soon()));
  auto claimed = std::async(std::launch::async, [&] {
    return std::all_of(others.begin(), others.end(),
                       [&](const Digest& other) { return store_->Claim(other).ok(); });
  });
  EXPECT_EQ(claimed.wait_for(std::chrono::seconds(20)), std::future_status::ready);
  EXPECT_EQ(disk.waiting(), 1u);
  disk.Open();
  EXPECT_TRUE(claimed.get());
  failed.get();
  store_.reset();
}

TEST_F(BlobStoreTest, AnOpenBlobOutlivesItsRemoval) {
  const Digest digest = Add("some bytes");
  auto blob = *store_->Open(digest);
  ASSERT_TRUE(store_->Remove(digest).ok());
  EXPECT_EQ(ReadAll(*blob), "some bytes");
  EXPECT_EQ(store_->Open(digest).status().code(), StatusCode::kNotFound);
  EXPECT_EQ(store_->Remove(digest).code(), StatusCode::kNotFound);
}

TEST_F(BlobStoreTest, RemovalStopsAGrowingBlob) {
  const std::string bytes = RandomBytes(1000, 12);
  auto blob = Grow(bytes);
  ASSERT_TRUE(store_->Remove(blob->digest()).ok());
  EXPECT_EQ(blob->Write(0, bytes).code(), StatusCode::kAborted);
  blob->Fail(Unavailable("late"));
  EXPECT_EQ(Add(bytes), Digest::Of(bytes));
}

TEST_F(BlobStoreTest, AdoptTakesTheFileAndServesThoseWhoWait) {
  const std::string bytes = RandomBytes(500'000, 13);
  const Digest digest = Digest::Of(bytes);
  const auto file = scratch_.path() / "ingested";
  std::ofstream(file) << bytes;
  auto blob = Grow(bytes);
  ASSERT_TRUE(blob->Write(0, std::string_view(bytes).substr(0, 1000)).ok());
  const auto info = store_->Adopt(file, digest, bytes.size(), {{"k", "v"}});
  ASSERT_TRUE(info.ok()) << info.status();
  EXPECT_TRUE(info->claimed);
  EXPECT_EQ(info->labels.at("k"), "v");
  EXPECT_EQ(blob->state(), Blob::State::kComplete);
  EXPECT_EQ(ReadAll(*blob), bytes);
  EXPECT_TRUE(blob->Write(1000, std::string_view(bytes).substr(1000)).ok());
  blob->Fail(Unavailable("too late to matter"));
  EXPECT_EQ(blob->state(), Blob::State::kComplete);
  EXPECT_FALSE(std::filesystem::exists(file));
  EXPECT_EQ(store_->Info(digest)->file, *FileTimesOf(*store_->Open(digest).value()->file()));
  std::ofstream(file) << bytes;
  EXPECT_EQ(store_->Adopt(file, digest, bytes.size(), {}).status().code(),
            StatusCode::kAlreadyExists);
  EXPECT_TRUE(std::filesystem::exists(file));
  EXPECT_THAT(Problems(), IsEmpty());
  Reopen();
  EXPECT_THAT(Problems(), IsEmpty());
}

// Takes all further descriptors of the process away when told to.
class NoMoreFiles final : public Disk {
 public:
  Status SyncDirectory(const std::filesystem::path& directory) override {
    TRY_STATUS(Disk::SyncDirectory(directory));
    if (armed) Limit(3);
    return OkStatus();
  }
  static rlim_t Limit(rlim_t files) {
    rlimit limit{};
    EXPECT_EQ(::getrlimit(RLIMIT_NOFILE, &limit), 0);
    const rlim_t before = std::exchange(limit.rlim_cur, files);
    EXPECT_EQ(::setrlimit(RLIMIT_NOFILE, &limit), 0);
    return before;
  }
  bool armed = false;
};

// The record was there by then, and the blob stayed in the list of growing ones for ever.
TEST_F(BlobStoreTest, AnAdoptThatFindsNoDescriptorLeavesNoRecord) {
  NoMoreFiles disk;
  auto store =
      BlobStore::Open({.root = scratch_.path(), .kv = faulty_kv_, .cpu_pool = pool_, .disk = disk});
  ASSERT_TRUE(store.ok()) << store.status();
  const std::string bytes = RandomBytes(1000, 99);
  const Digest digest = Digest::Of(bytes);
  const auto file = scratch_.path() / "file";
  std::ofstream(file) << bytes;
  const auto grown = (*store)->Grow(digest, bytes.size());
  ASSERT_TRUE(grown.ok()) << grown.status();
  const rlim_t before = NoMoreFiles::Limit(1024);
  disk.armed = true;
  const Status failed = (*store)->Adopt(file, digest, bytes.size(), {}).status();
  disk.armed = false;
  NoMoreFiles::Limit(before);
  EXPECT_FALSE(failed.ok());
  EXPECT_EQ((*store)->Info(digest).status().code(), StatusCode::kNotFound);
  EXPECT_EQ((*store)->FindGrowing(digest), nullptr);
  EXPECT_TRUE(std::filesystem::exists(file)) << "it is the caller's";
  EXPECT_TRUE((*store)->Adopt(file, digest, bytes.size(), {}).ok());
}

// The file stays with the caller, who may go on to change it: nothing of ours may share it.
TEST_F(BlobStoreTest, AFailedAdoptSharesNoFile) {
  const std::string bytes = RandomBytes(1000, 14);
  const Digest digest = Digest::Of(bytes);
  const auto file = scratch_.path() / "ingested";
  for (int n = 1; n <= 6; ++n) {
    std::filesystem::remove(file);
    std::ofstream(file) << bytes;
    auto grown = store_->Grow(digest, bytes.size());
    fault_.FailAt(n, false);
    const auto adopted = store_->Adopt(file, digest, bytes.size(), {});
    EXPECT_EQ(adopted.ok(), n > 5);  // the sixth removes the other name, of no account
    fault_.Disarm();
    if (adopted.ok()) continue;
    std::ofstream(file, std::ios::trunc) << "something else";
    if (!grown->blob->Write(0, bytes).ok()) {
      EXPECT_EQ(Add(bytes), digest);
    }
    ASSERT_TRUE((*store_->Grow(digest, bytes.size())).blob->WaitComplete({}, Soon()).ok());
    EXPECT_THAT(Problems(), IsEmpty()) << "n = " << n;
    ASSERT_TRUE(store_->Remove(digest).ok());
  }
}

TEST_F(BlobStoreTest, ListIsInDigestOrderAndMayRemoveMeanwhile) {
  std::vector<Digest> digests;
  for (int i = 0; i < 20; ++i) digests.push_back(Add("blob " + std::to_string(i)));
  std::sort(digests.begin(), digests.end());
  std::vector<Digest> seen;
  ASSERT_TRUE(store_
                  ->List([&](const BlobInfo& info) {
                    seen.push_back(info.digest);
                    EXPECT_TRUE(store_->Remove(info.digest).ok());
                    return true;
                  })
                  .ok());
  EXPECT_EQ(seen, digests);
}

TEST_F(BlobStoreTest, OpenSweepsWhatDoesNotAgree) {
  const Digest good = Add("good"), lost = Add("lost"), cut = Add("cut short");
  std::filesystem::remove(PathOf(lost));
  std::ofstream(PathOf(cut), std::ios::trunc) << "cut";
  const Digest orphan = Digest::Of("orphan");
  std::filesystem::create_directories(PathOf(orphan).parent_path());
  std::ofstream(PathOf(orphan)) << "orphan";
  std::ofstream(PathOf(good).string() + ".new") << "left by a crash";
  std::ofstream(scratch_.path() / "blobs/sha256/stray") << "stray";
  ASSERT_TRUE(
      kv_->Put(kv::Family::kBlobs, Digest::Of("bad").ToString(), "\xff\xff", kv::Sync::kNo).ok());
  ASSERT_TRUE(
      kv_->Put(kv::Family::kPieces, Digest::Of("bad").ToString(), "\xff\xff", kv::Sync::kNo).ok());
  EXPECT_EQ(Problems().size(), 6u);
  Reopen();
  EXPECT_THAT(Problems(), IsEmpty());
  EXPECT_EQ(InfoCode(good), StatusCode::kOk);
  EXPECT_EQ(InfoCode(lost), StatusCode::kNotFound);
  EXPECT_EQ(InfoCode(cut), StatusCode::kNotFound);
  EXPECT_FALSE(std::filesystem::exists(PathOf(orphan)));
}

TEST_F(BlobStoreTest, VerifyNamesChangedBytesAndRepairDropsThem) {
  const Digest good = Add("good bytes"), bad = Add("these bytes");
  std::ofstream(PathOf(bad), std::ios::trunc) << "other bytes";
  const auto problems = Problems();
  ASSERT_EQ(problems.size(), 1u);
  EXPECT_THAT(problems[0], HasSubstr(bad.ToString()));
  ASSERT_TRUE(store_->Verify(true, [](const std::string&) {}, {}).ok());
  EXPECT_EQ(InfoCode(bad), StatusCode::kNotFound);
  EXPECT_EQ(InfoCode(good), StatusCode::kOk);
}

// Fails the n-th change of disk or index, for n = 1, 2, 3 … until nothing fails any more; then
// opens the store anew: it must be right, and the same work must pass.
TEST_F(BlobStoreTest, FaultLoop) {
  for (const bool lasting : {false, true}) {
    bool done = false;
    for (int n = 1; !done; ++n) {
      ASSERT_LT(n, 200);
      const std::string bytes = RandomBytes(3 * kMinPieceSizeBytes + n, 100 + n + lasting);
      const Digest digest = Digest::Of(bytes);
      const auto file = scratch_.path() / "ingested";
      const std::string other = "adopted " + std::to_string(n) + std::to_string(lasting);
      std::filesystem::remove(file);  // may be a second name of an adopted blob
      std::ofstream(file) << other;
      fault_.FailAt(n, lasting);
      const auto work = [&]() -> Status {
        const auto grown = TRY(store_->Grow(digest, bytes.size()));
        auto status = grown.blob->Write(0, std::string_view(bytes).substr(0, 600'000));
        if (status.ok())
          status = grown.blob->Write(600'000, std::string_view(bytes).substr(600'000));
        if (!status.ok()) grown.blob->Fail(status);
        TRY_STATUS(grown.blob->WaitComplete({}, Soon()));
        TRY_STATUS(store_->Claim(digest).status());
        TRY_STATUS(store_->Adopt(file, Digest::Of(other), other.size(), {}).status());
        return store_->Unclaim(Digest::Of(other));
      };
      const Status status = work();
      done = !fault_.hit();
      EXPECT_TRUE(!done || status.ok()) << status;
      fault_.Disarm();
      Reopen();
      EXPECT_THAT(Problems(), IsEmpty()) << "n = " << n << ", " << status;
      const auto grown = store_->Grow(digest, bytes.size());
      ASSERT_TRUE(grown.ok()) << grown.status();
      const uint64_t from = grown->blob->FirstMissing();
      ASSERT_TRUE(grown->blob->Write(from, std::string_view(bytes).substr(from)).ok());
      ASSERT_TRUE(grown->blob->WaitComplete({}, Soon()).ok()) << "n = " << n;
      ASSERT_EQ(ReadAll(*grown->blob), bytes);
    }
  }
}

// Counts what makes a name durable.
class SyncCounter final : public Disk {
 public:
  Status SyncDirectory(const std::filesystem::path& directory) override {
    MutexLock lock(mutex_);
    if (directory == failing_) return ResourceExhausted("injected");
    ++syncs_[directory];
    return Disk::SyncDirectory(directory);
  }
  void FailFor(const std::filesystem::path& directory) {
    MutexLock lock(mutex_);
    failing_ = directory;
  }
  int Of(const std::filesystem::path& directory) {
    MutexLock lock(mutex_);
    return syncs_[directory];
  }

 private:
  Mutex mutex_;
  std::map<std::filesystem::path, int> syncs_ GUARDED_BY(mutex_);
  std::filesystem::path failing_ GUARDED_BY(mutex_);
};

TEST_F(BlobStoreTest, ADirectoryMadeBeforeACrashIsSyncedBeforeABlobInItCounts) {
  const std::string bytes = "bytes";
  // Made by a process that was killed before it could sync the name.
  std::filesystem::create_directory(PathOf(Digest::Of(bytes)).parent_path());
  SyncCounter disk;
  ReopenOn(disk);
  const auto all = scratch_.path() / "blobs/sha256";
  const int before = disk.Of(all);
  Add(bytes);
  EXPECT_EQ(disk.Of(all), before + 1);
  store_.reset();
}

TEST_F(BlobStoreTest, BlobsBeginWithoutASyncOfTheirDirectories) {
  const std::string one = "1", other = "2";
  ASSERT_NE(PathOf(Digest::Of(one)).parent_path(), PathOf(Digest::Of(other)).parent_path());
  SyncCounter disk;
  ReopenOn(disk);
  const auto all = scratch_.path() / "blobs/sha256";
  const int before = disk.Of(all);
  const auto first = Grow(one), second = Grow(other);
  EXPECT_EQ(disk.Of(all), before);
  disk.FailFor(all);
  ASSERT_TRUE(first->Write(0, one).ok());
  EXPECT_FALSE(first->WaitComplete({}, Soon()).ok());
  EXPECT_EQ(InfoCode(Digest::Of(one)), StatusCode::kNotFound) << "its name may be lost";
  disk.FailFor("");
  Add(one);
  ASSERT_TRUE(second->Write(0, other).ok());
  EXPECT_TRUE(second->WaitComplete({}, Soon()).ok());
  EXPECT_EQ(disk.Of(all), before + 1) << "one does for both";
  store_.reset();
}

}  // namespace
}  // namespace hearth::store
