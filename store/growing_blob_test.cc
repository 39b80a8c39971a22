#include "store/growing_blob.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <future>
#include <thread>

#include "store/blob_store_for_test.h"
#include "store/blocking.h"
#include "store/pieces.h"

namespace hearth::store {
namespace {

using std::chrono::seconds;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

class GrowingBlobTest : public BlobStoreTest {};

class CountingDisk final : public Disk {
 public:
  Status SyncData(int fd) override {
    ++data_syncs;
    return Disk::SyncData(fd);
  }
  std::atomic<int> data_syncs = 0;
};

// Moved by the test while the pool reads it.
class SharedClock final : public Clock {
 public:
  WallTime WallNow() const override { return WallTime(); }
  SteadyTime SteadyNow() const override { return SteadyTime(seconds(seconds_)); }
  std::atomic<int> seconds_ = 1000;
};

TEST_F(GrowingBlobTest, GrowsVerifiesAndIsThereAfterReopen) {
  const std::string bytes = RandomBytes(3'000'000, 1);
  const Digest digest = Digest::Of(bytes);
  auto blob = Grow(bytes);
  EXPECT_EQ(InfoCode(digest), StatusCode::kNotFound) << "nothing unverified is shown";
  EXPECT_EQ(store_->Open(digest).status().code(), StatusCode::kNotFound);
  for (size_t at = 0; at < bytes.size(); at += 70'000) {
    ASSERT_TRUE(blob->Write(at, std::string_view(bytes).substr(at, 70'000)).ok());
  }
  ASSERT_TRUE(blob->WaitComplete({}, Soon()).ok());
  EXPECT_EQ(blob->state(), Blob::State::kComplete);
  const auto info = store_->Info(digest);
  ASSERT_TRUE(info.ok());
  EXPECT_EQ(info->size_bytes, bytes.size());
  EXPECT_EQ(info->created, clock_.WallNow());
  EXPECT_FALSE(info->claimed);
  EXPECT_EQ(ReadAll(*blob), bytes);
  Reopen();
  EXPECT_EQ(ReadAll(**store_->Open(digest)), bytes);
  EXPECT_THAT(Problems(), IsEmpty());
}

TEST_F(GrowingBlobTest, EmptyBlobCompletesByItself) {
  auto blob = Grow("");
  EXPECT_TRUE(blob->WaitComplete({}, Soon()).ok());
  EXPECT_EQ(InfoCode(Digest::Of("")), StatusCode::kOk);
}

TEST_F(GrowingBlobTest, PiecesComeInAnyOrder) {
  const std::string bytes = RandomBytes(5 * kMinPieceSizeBytes + 17, 2);
  auto blob = Grow(bytes);
  for (const size_t piece : {4, 0, 5, 2, 1, 3}) {
    const size_t at = piece * kMinPieceSizeBytes;
    ASSERT_TRUE(blob->Write(at, std::string_view(bytes).substr(at, kMinPieceSizeBytes)).ok());
  }
  EXPECT_TRUE(blob->WaitComplete({}, Soon()).ok());
  EXPECT_EQ(ReadAll(*blob), bytes);
}

TEST_F(GrowingBlobTest, ManyWritersManyReaders) {
  const std::string bytes = RandomBytes(40 * kMinPieceSizeBytes + 5, 3);
  auto blob = Grow(bytes);
  std::vector<std::thread> threads;
  std::atomic<int> right = 0;
  for (int i = 0; i < 3; ++i) {
    threads.emplace_back([&] { right += ReadAll(*blob) == bytes; });
  }
  for (size_t first = 0; first < 4; ++first) {
    threads.emplace_back([&, first] {
      // The last two write the same pieces: the endgame of a swarm.
      for (size_t piece = std::min<size_t>(first, 2); piece <= 40; piece += 3) {
        for (size_t part = 0; part < kMinPieceSizeBytes; part += 50'000) {
          const size_t at = piece * kMinPieceSizeBytes + part;
          if (at >= bytes.size()) break;
          const size_t size = std::min<size_t>(50'000, kMinPieceSizeBytes - part);
          EXPECT_TRUE(blob->Write(at, std::string_view(bytes).substr(at, size)).ok());
        }
      }
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(right, 3);
  EXPECT_TRUE(blob->WaitComplete({}, Soon()).ok());
  EXPECT_THAT(Problems(), IsEmpty());
}

TEST_F(GrowingBlobTest, WritesBeyondTheEndAreRefused) {
  auto blob = Grow("abc");
  EXPECT_EQ(blob->Write(0, std::string_view("abcd")).code(), StatusCode::kOutOfRange);
  EXPECT_EQ(blob->Write(4, std::string_view("")).code(), StatusCode::kOutOfRange);
  EXPECT_TRUE(blob->Write(0, std::string_view("abc")).ok());
}

TEST_F(GrowingBlobTest, ResumesFromWholePiecesAfterReopen) {
  const std::string bytes = RandomBytes(4 * kMinPieceSizeBytes, 4);
  const std::string_view view = bytes;
  auto blob = Grow(bytes);
  ASSERT_TRUE(blob->Write(0, view.substr(0, kMinPieceSizeBytes + 1000)).ok());
  ASSERT_TRUE(
      blob->Write(2 * kMinPieceSizeBytes, view.substr(2 * kMinPieceSizeBytes, kMinPieceSizeBytes))
          .ok());
  blob->Fail(Unavailable("origin is gone"));
  EXPECT_EQ(blob->state(), Blob::State::kFailed);
  EXPECT_EQ(blob->Write(0, view).message(), "origin is gone");
  blob.reset();
  Reopen();
  std::vector<uint64_t> present;
  ASSERT_TRUE(store_
                  ->ListPartial([&](const PartialInfo& info) {
                    present.push_back(info.present_bytes);
                    EXPECT_FALSE(info.being_fetched);
                    return true;
                  })
                  .ok());
  EXPECT_THAT(present, ElementsAre(2 * kMinPieceSizeBytes));
  blob = Grow(bytes);
  EXPECT_EQ(blob->FirstMissing(), kMinPieceSizeBytes);
  EXPECT_EQ(blob->Available(2 * kMinPieceSizeBytes), kMinPieceSizeBytes);
  ASSERT_TRUE(
      blob->Write(kMinPieceSizeBytes, view.substr(kMinPieceSizeBytes, kMinPieceSizeBytes)).ok());
  ASSERT_TRUE(blob->Write(3 * kMinPieceSizeBytes, view.substr(3 * kMinPieceSizeBytes)).ok());
  EXPECT_TRUE(blob->WaitComplete({}, Soon()).ok());
  EXPECT_THAT(Problems(), IsEmpty());
}

TEST_F(GrowingBlobTest, WhollyPresentButUncommittedIsVerifiedAtGrow) {
  const std::string bytes = RandomBytes(2 * kMinPieceSizeBytes, 5);
  auto blob = Grow(bytes);
  // Of two writes, sync of data, two of names and commit, the fourth fails.
  fault_.FailAt(4, false);
  ASSERT_TRUE(blob->Write(0, std::string_view(bytes).substr(0, kMinPieceSizeBytes)).ok());
  ASSERT_TRUE(
      blob->Write(kMinPieceSizeBytes, std::string_view(bytes).substr(kMinPieceSizeBytes)).ok());
  EXPECT_FALSE(blob->WaitComplete({}, Soon()).ok());
  blob->Fail(Unavailable("again"));
  fault_.Disarm();
  blob = Grow(bytes);
  EXPECT_EQ(blob->FirstMissing(), bytes.size());
  EXPECT_TRUE(blob->WaitComplete({}, Soon()).ok());
}

TEST_F(GrowingBlobTest, WrongBytesAreDroppedAndTheNextTryStartsAnew) {
  const std::string bytes = RandomBytes(2 * kMinPieceSizeBytes, 6);
  std::string wrong = bytes;
  wrong[1000] ^= 1;
  auto blob = Grow(bytes);
  ASSERT_TRUE(blob->Write(0, wrong).ok());
  const Status failed = blob->WaitComplete({}, Soon());
  EXPECT_EQ(failed.code(), StatusCode::kDataLoss) << failed;
  EXPECT_EQ(InfoCode(Digest::Of(bytes)), StatusCode::kNotFound);
  EXPECT_FALSE(std::filesystem::exists(PathOf(Digest::Of(bytes))));
  blob = Grow(bytes);
  EXPECT_EQ(blob->FirstMissing(), 0u);
  ASSERT_TRUE(blob->Write(0, bytes).ok());
  EXPECT_TRUE(blob->WaitComplete({}, Soon()).ok());
}

TEST_F(GrowingBlobTest, OneWriterTheOthersJoin) {
  const std::string bytes = RandomBytes(1000, 7);
  auto blob = Grow(bytes);
  const auto second = store_->Grow(Digest::Of(bytes), bytes.size());
  EXPECT_FALSE(second->writer);
  EXPECT_EQ(second->blob, blob);
  EXPECT_EQ(store_->FindGrowing(Digest::Of(bytes)), blob);
  EXPECT_EQ(store_->Grow(Digest::Of(bytes), 999).status().code(), StatusCode::kInvalidArgument);
  ASSERT_TRUE(blob->Write(0, bytes).ok());
  ASSERT_TRUE(blob->WaitComplete({}, Soon()).ok());
  EXPECT_EQ(store_->FindGrowing(Digest::Of(bytes)), nullptr);
  const auto third = store_->Grow(Digest::Of(bytes), bytes.size());
  EXPECT_FALSE(third->writer);
  EXPECT_EQ(third->blob->state(), Blob::State::kComplete);
  EXPECT_EQ(store_->Grow(Digest::Of(bytes), 999).status().code(), StatusCode::kInvalidArgument);
}

TEST_F(GrowingBlobTest, AWrongSizeDoesNotPoisonTheDigest) {
  const std::string bytes = RandomBytes(1000, 8);
  auto liar = store_->Grow(Digest::Of(bytes), 5000);
  ASSERT_TRUE(liar.ok());
  liar->blob->Fail(Unavailable("short body"));
  EXPECT_EQ(Add(bytes), Digest::Of(bytes));
}

TEST_F(GrowingBlobTest, ReadersWaitForTheirByte) {
  const std::string bytes = RandomBytes(2000, 9);
  auto blob = Grow(bytes);
  char byte = 0;
  const auto late = blob->Read(500, {&byte, 1}, {}, Deadline::After(std::chrono::milliseconds(1)));
  EXPECT_EQ(late.status().code(), StatusCode::kDeadlineExceeded);
  std::stop_source stop;
  auto cancelled = std::async(std::launch::async, [&] {
    char one = 0;
    return blob->Read(500, {&one, 1}, stop.get_token(), Deadline::Never()).status();
  });
  auto reader = std::async(std::launch::async, [&] {
    char one = 0;
    EXPECT_EQ(*blob->Read(500, {&one, 1}, {}, Soon()), 1u);
    return one;
  });
  stop.request_stop();
  EXPECT_EQ(cancelled.get().code(), StatusCode::kCancelled);
  ASSERT_TRUE(blob->Write(0, std::string_view(bytes).substr(0, 501)).ok());
  EXPECT_EQ(reader.get(), bytes[500]);
  auto failed = std::async(std::launch::async, [&] { return blob->WaitComplete({}, Soon()); });
  blob->Fail(Unavailable("no source"));
  EXPECT_EQ(failed.get().message(), "no source");
}

TEST_F(GrowingBlobTest, WhenAvailableWakesOnceAndHoldsNoLock) {
  const std::string bytes = RandomBytes(2 * kMinPieceSizeBytes, 10);
  auto blob = Grow(bytes);
  std::atomic<int> first = 0, second = 0;
  std::promise<void> end;
  blob->WhenAvailable(10, [&] { ++first; });
  blob->WhenAvailable(kMinPieceSizeBytes + 10, [&] {
    second += static_cast<int>(blob->Available(kMinPieceSizeBytes + 10));
  });
  blob->WhenAvailable(bytes.size(), [&] {
    EXPECT_TRUE(store_->Claim(blob->digest()).ok()) << "the store may be used in it";
    end.set_value();
  });
  ASSERT_TRUE(blob->Write(0, std::string_view(bytes).substr(0, 10)).ok());
  EXPECT_EQ(first, 0);
  ASSERT_TRUE(blob->Write(10, std::string_view(bytes).substr(10, 1)).ok());
  EXPECT_EQ(first, 1);
  ASSERT_TRUE(blob->Write(11, std::string_view(bytes).substr(11)).ok());
  EXPECT_EQ(second, static_cast<int>(kMinPieceSizeBytes - 10));
  ASSERT_EQ(end.get_future().wait_for(seconds(20)), std::future_status::ready);
  int now = 0;
  blob->WhenAvailable(0, [&] { ++now; });
  EXPECT_EQ(now, 1);
  EXPECT_EQ(first, 1);
}

TEST_F(GrowingBlobTest, FullPoolNeitherEndsTheVerificationNorMakesItTheWriters) {
  const std::string bytes = RandomBytes(4 << 20, 11);
  const Scratch scratch;
  const auto kv = kv::MakeMemoryKv();
  FullPool full;
  GatedDisk disk;
  disk.Open();
  const auto store = std::move(
      *BlobStore::Open({.root = scratch.path(), .kv = *kv, .cpu_pool = full.pool(), .disk = disk}));
  const auto blob = store->Grow(Digest::Of(bytes), bytes.size())->blob;
  ASSERT_TRUE(blob->Write(0, bytes).ok());
  EXPECT_TRUE(blob->WaitComplete({}, Soon()).ok()) << "although the pool is still full";
  EXPECT_NE(disk.synced_by(), std::thread::id());
  EXPECT_NE(disk.synced_by(), std::this_thread::get_id());
}

TEST_F(GrowingBlobTest, WriterPausesWhileTheSpareThreadIsElsewhere) {
  const std::string first = RandomBytes(2 << 20, 12), bytes = RandomBytes(4 << 20, 13);
  const Scratch scratch;
  const auto kv = kv::MakeMemoryKv();
  FullPool full;
  GatedDisk disk;
  const auto store = std::move(
      *BlobStore::Open({.root = scratch.path(), .kv = *kv, .cpu_pool = full.pool(), .disk = disk}));
  const auto elsewhere = store->Grow(Digest::Of(first), first.size())->blob;
  ASSERT_TRUE(elsewhere->Write(0, first).ok());
  const auto blob = store->Grow(Digest::Of(bytes), bytes.size())->blob;
  EXPECT_TRUE(blob->MayWrite([] { ADD_FAILURE() << "nobody waits"; }));
  ASSERT_TRUE(blob->Write(0, std::string_view(bytes).substr(0, 2 << 20)).ok());
  std::promise<void> resumed;
  EXPECT_FALSE(blob->MayWrite([&] { resumed.set_value(); }));
  // Who cannot pause may go on.
  ASSERT_TRUE(blob->Write(2 << 20, std::string_view(bytes).substr(2 << 20)).ok());
  disk.Open();
  ASSERT_EQ(resumed.get_future().wait_for(seconds(20)), std::future_status::ready);
  EXPECT_TRUE(blob->WaitComplete({}, Soon()).ok());
  EXPECT_TRUE(elsewhere->WaitComplete({}, Soon()).ok());
}

TEST_F(GrowingBlobTest, PausedWriterIsWokenWhenItsBlobFails) {
  const std::string first = RandomBytes(2 << 20, 14), bytes = RandomBytes(4 << 20, 15);
  const Scratch scratch;
  const auto kv = kv::MakeMemoryKv();
  FullPool full;
  GatedDisk disk;
  const auto store = std::move(
      *BlobStore::Open({.root = scratch.path(), .kv = *kv, .cpu_pool = full.pool(), .disk = disk}));
  const auto elsewhere = store->Grow(Digest::Of(first), first.size())->blob;
  ASSERT_TRUE(elsewhere->Write(0, first).ok());
  const auto blob = store->Grow(Digest::Of(bytes), bytes.size())->blob;
  ASSERT_TRUE(blob->Write(0, std::string_view(bytes).substr(0, 2 << 20)).ok());
  std::atomic<int> resumed = 0;
  EXPECT_FALSE(blob->MayWrite([&] { ++resumed; }));
  auto failing = std::async(std::launch::async, [&] { blob->Fail(Cancelled("not wanted")); });
  while (resumed == 0) std::this_thread::yield();
  disk.Open();
  failing.get();
  EXPECT_EQ(resumed, 1);
}

TEST_F(GrowingBlobTest, AFastTransferIsSyncedByTimeAndNotByBytes) {
  constexpr size_t kMiB = 1 << 20;
  const std::string bytes = RandomBytes(40 * kMiB, 16);
  const Scratch scratch;
  const auto kv = kv::MakeMemoryKv();
  CountingDisk disk;
  SharedClock clock;
  const auto store = std::move(*BlobStore::Open(
      {.root = scratch.path(), .kv = *kv, .cpu_pool = pool_, .clock = clock, .disk = disk}));
  const auto blob = store->Grow(Digest::Of(bytes), bytes.size())->blob;
  size_t at = 0;
  const auto write_mib = [&](size_t count) {
    for (const size_t end = at + count * kMiB; at < end; at += kMiB) {
      ASSERT_TRUE(blob->Write(at, std::string_view(bytes).substr(at, kMiB)).ok());
    }
  };
  write_mib(20);
  clock.seconds_ += 2;
  write_mib(1);
  for (const Deadline soon = Soon(); disk.data_syncs == 0 && !soon.Passed();) {
    std::this_thread::yield();
  }
  EXPECT_EQ(disk.data_syncs, 1);
  write_mib(19);
  EXPECT_TRUE(blob->WaitComplete({}, Soon()).ok());
  EXPECT_EQ(disk.data_syncs, 2) << "all but the one that made it complete were for a restart";
}

TEST_F(GrowingBlobTest, TellsWhichByteIsWaitedForFirst) {
  const std::string bytes = RandomBytes(3 * kMinPieceSizeBytes, 5);
  const auto blob = Grow(bytes);
  EXPECT_EQ(blob->WantedOffset(), std::nullopt);
  blob->WhenAvailable(bytes.size(), [] {});
  EXPECT_EQ(blob->WantedOffset(), std::nullopt) << "the end is no byte";
  blob->WhenAvailable(500'000, [] {});
  EXPECT_EQ(blob->WantedOffset(), 500'000u);
  std::string out(10, '\0');
  std::thread reader([&] { (void)blob->Read(300'000, out, {}, Soon()); });
  while (blob->WantedOffset() != 300'000u) std::this_thread::yield();
  const std::string_view all = bytes;
  ASSERT_TRUE(blob->Write(262'144, all.substr(262'144, 262'144)).ok());
  reader.join();
  EXPECT_EQ(blob->WantedOffset(), std::nullopt);
  ASSERT_TRUE(blob->Write(0, bytes).ok());
  EXPECT_TRUE(blob->WaitComplete({}, Soon()).ok());
}

}  // namespace
}  // namespace hearth::store
