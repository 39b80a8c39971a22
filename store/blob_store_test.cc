#include "store/blob_store.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <fstream>
#include <future>
#include <random>
#include <thread>

#include "store/faulty.h"
#include "store/pieces.h"

namespace hearth::store {
namespace {

using std::chrono::hours;
using std::chrono::seconds;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

std::string RandomBytes(size_t size, uint32_t seed) {
  std::mt19937 random(seed);
  std::string bytes(size, '\0');
  for (auto& byte : bytes) byte = static_cast<char>(random());
  return bytes;
}

Deadline Soon() { return Deadline::After(seconds(20)); }

class BlobStoreTest : public testing::Test {
 protected:
  void SetUp() override { Reopen(); }
  void Reopen() {
    store_.reset();
    auto opened = BlobStore::Open({.root = scratch_.path(),
                                   .kv = faulty_kv_,
                                   .cpu_pool = pool_,
                                   .clock = clock_,
                                   .disk = disk_});
    ASSERT_TRUE(opened.ok()) << opened.status();
    store_ = std::move(*opened);
  }
  std::shared_ptr<Blob> Grow(const std::string& bytes) {
    auto grown = store_->Grow(Digest::Of(bytes), bytes.size());
    EXPECT_TRUE(grown.ok()) << grown.status();
    EXPECT_TRUE(grown->writer);
    return grown->blob;
  }
  Digest Add(const std::string& bytes) {
    auto blob = Grow(bytes);
    EXPECT_TRUE(blob->Write(0, bytes).ok());
    EXPECT_TRUE(blob->WaitComplete({}, Soon()).ok()) << blob->failure();
    return blob->digest();
  }
  static std::string ReadAll(Blob& blob) {
    std::string all;
    std::string buffer(100'000, '\0');
    while (true) {
      const auto got = blob.Read(all.size(), buffer, {}, Soon());
      EXPECT_TRUE(got.ok()) << got.status();
      if (!got.ok() || *got == 0) return all;
      all.append(buffer, 0, *got);
    }
  }
  std::vector<std::string> Problems() {
    std::vector<std::string> problems;
    EXPECT_TRUE(
        store_->Verify(false, [&](const std::string& p) { problems.push_back(p); }, {}).ok());
    return problems;
  }
  std::filesystem::path PathOf(const Digest& digest) {
    return scratch_.path() / "blobs/sha256" / digest.hex().substr(0, 2) / digest.hex();
  }
  StatusCode InfoCode(const Digest& digest) { return store_->Info(digest).status().code(); }

  Scratch scratch_;
  FakeClock clock_;
  Fault fault_;
  FaultyDisk disk_{fault_};
  std::unique_ptr<kv::Kv> kv_ = kv::MakeMemoryKv();
  FaultyKv faulty_kv_{*kv_, fault_};
  ThreadPool pool_{{.name = "cpu", .threads = 2}};
  std::unique_ptr<BlobStore> store_;
};

TEST_F(BlobStoreTest, GrowsVerifiesAndIsThereAfterReopen) {
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

TEST_F(BlobStoreTest, EmptyBlobCompletesByItself) {
  auto blob = Grow("");
  EXPECT_TRUE(blob->WaitComplete({}, Soon()).ok());
  EXPECT_EQ(InfoCode(Digest::Of("")), StatusCode::kOk);
}

TEST_F(BlobStoreTest, PiecesComeInAnyOrder) {
  const std::string bytes = RandomBytes(5 * kMinPieceSizeBytes + 17, 2);
  auto blob = Grow(bytes);
  for (const size_t piece : {4, 0, 5, 2, 1, 3}) {
    const size_t at = piece * kMinPieceSizeBytes;
    ASSERT_TRUE(blob->Write(at, std::string_view(bytes).substr(at, kMinPieceSizeBytes)).ok());
  }
  EXPECT_TRUE(blob->WaitComplete({}, Soon()).ok());
  EXPECT_EQ(ReadAll(*blob), bytes);
}

TEST_F(BlobStoreTest, ManyWritersManyReaders) {
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

TEST_F(BlobStoreTest, WritesBeyondTheEndAreRefused) {
  auto blob = Grow("abc");
  EXPECT_EQ(blob->Write(0, std::string_view("abcd")).code(), StatusCode::kOutOfRange);
  EXPECT_EQ(blob->Write(4, std::string_view("")).code(), StatusCode::kOutOfRange);
  EXPECT_TRUE(blob->Write(0, std::string_view("abc")).ok());
}

TEST_F(BlobStoreTest, ResumesFromWholePiecesAfterReopen) {
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

TEST_F(BlobStoreTest, WhollyPresentButUncommittedIsVerifiedAtGrow) {
  const std::string bytes = RandomBytes(2 * kMinPieceSizeBytes, 5);
  auto blob = Grow(bytes);
  // Of two writes, sync of data, sync of the name and commit, the fourth fails.
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

TEST_F(BlobStoreTest, WrongBytesAreDroppedAndTheNextTryStartsAnew) {
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

TEST_F(BlobStoreTest, OneWriterTheOthersJoin) {
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

TEST_F(BlobStoreTest, AWrongSizeDoesNotPoisonTheDigest) {
  const std::string bytes = RandomBytes(1000, 8);
  auto liar = store_->Grow(Digest::Of(bytes), 5000);
  ASSERT_TRUE(liar.ok());
  liar->blob->Fail(Unavailable("short body"));
  EXPECT_EQ(Add(bytes), Digest::Of(bytes));
}

TEST_F(BlobStoreTest, ReadersWaitForTheirByte) {
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

TEST_F(BlobStoreTest, WhenAvailableWakesOnceAndHoldsNoLock) {
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
    ++syncs_[directory];
    return Disk::SyncDirectory(directory);
  }
  int Of(const std::filesystem::path& directory) {
    MutexLock lock(mutex_);
    return syncs_[directory];
  }

 private:
  Mutex mutex_;
  std::map<std::filesystem::path, int> syncs_ GUARDED_BY(mutex_);
};

TEST_F(BlobStoreTest, ADirectoryMadeBeforeACrashIsSyncedBeforeABlobInItCounts) {
  const std::string bytes = "bytes";
  // Made by a process that was killed before it could sync the name.
  std::filesystem::create_directory(PathOf(Digest::Of(bytes)).parent_path());
  SyncCounter disk;
  store_ = BlobStore::Open({.root = scratch_.path(),
                            .kv = faulty_kv_,
                            .cpu_pool = pool_,
                            .clock = clock_,
                            .disk = disk})
               .value();
  const auto all = scratch_.path() / "blobs/sha256";
  const int before = disk.Of(all);
  Add(bytes);
  EXPECT_EQ(disk.Of(all), before + 1);
  store_.reset();
}

}  // namespace
}  // namespace hearth::store
