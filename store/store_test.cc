#include "store/store.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>
#include <random>
#include <thread>

#include "base/log.h"
#include "base/piece.h"
#include "store/faulty.h"

namespace hearth::store {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using testing::Contains;
using testing::HasSubstr;
using testing::IsEmpty;

Deadline Soon() { return Deadline::After(seconds(20)); }

class StoreTest : public testing::Test {
 protected:
  static Result<std::unique_ptr<Store>> Open(const std::filesystem::path& root, ThreadPool& pool) {
    return Store::Open({.root = root, .cpu_pool = pool});
  }
  static std::vector<std::string> Problems(Store& store) {
    std::vector<std::string> problems;
    EXPECT_TRUE(store.Verify(false, [&](const std::string& p) { problems.push_back(p); }, {}).ok());
    return problems;
  }

  Scratch scratch_;
};

TEST_F(StoreTest, OneProcessHoldsARoot) {
  ThreadPool pool({.name = "cpu"});
  auto store = Open(scratch_.path() / "deep/root", pool);
  ASSERT_TRUE(store.ok()) << store.status();
  const Status second = Open(scratch_.path() / "deep/root", pool).status();
  EXPECT_EQ(second.code(), StatusCode::kFailedPrecondition);
  EXPECT_THAT(second.message(), HasSubstr(std::to_string(::getpid())));
  store->reset();
  EXPECT_TRUE(Open(scratch_.path() / "deep/root", pool).ok());
}

TEST_F(StoreTest, ANewerStoreIsRefused) {
  ThreadPool pool({.name = "cpu"});
  const auto open = [&](const std::string& version) {
    auto kv = kv::MakeMemoryKv();
    EXPECT_TRUE(kv->Put(kv::Family::kMeta, "version", version, kv::Sync::kNo).ok());
    return Store::Open({.root = scratch_.path(), .cpu_pool = pool, .kv = std::move(kv)}).status();
  };
  EXPECT_TRUE(open("1").ok());
  EXPECT_EQ(open("2").code(), StatusCode::kFailedPrecondition);
  EXPECT_THAT(open("2").message(), HasSubstr("version 2"));
  EXPECT_EQ(open("many").code(), StatusCode::kDataLoss);
}

TEST_F(StoreTest, VerifyFindsWhatNoRecordNames) {
  ThreadPool pool({.name = "cpu"});
  auto store = Open(scratch_.path(), pool);
  ASSERT_TRUE(store.ok()) << store.status();
  const Digest digest = Digest::Of("blob");
  auto grown = (*store)->blobs().Grow(digest, 4);
  ASSERT_TRUE(grown->blob->Write(0, std::string_view("blob")).ok());
  ASSERT_TRUE(grown->blob->WaitComplete({}, Soon()).ok());
  auto ingest = (*store)->ingests().Open("ref", 0, Soon());
  ASSERT_TRUE((*ingest)->Append(std::string_view("some")).ok());
  ASSERT_TRUE((*ingest)->Truncate().ok());
  ASSERT_THAT(Problems(**store), IsEmpty());

  const std::filesystem::path blobs = scratch_.path() / "blobs/sha256";
  const std::filesystem::path elsewhere = blobs / (digest.hex()[0] == '0' ? "11" : "00");
  std::filesystem::create_directories(elsewhere);
  const std::filesystem::path orphans[] = {
      blobs / "stray", elsewhere / digest.hex(), elsewhere / Digest::Of("no").hex(),
      scratch_.path() / "ingest/7", scratch_.path() / "snapshots/stray"};
  for (const auto& orphan : orphans) std::ofstream(orphan) << "x";
  const auto problems = Problems(**store);
  EXPECT_EQ(problems.size(), std::size(orphans));
  for (const auto& orphan : orphans) {
    EXPECT_THAT(problems, Contains(HasSubstr(orphan.string())));
  }
  for (const auto& entry : std::filesystem::directory_iterator(scratch_.path() / "ingest")) {
    std::filesystem::remove(entry.path());
  }
  EXPECT_THAT(Problems(**store), Contains(HasSubstr("ingest \"ref\"")));
}

// A start failed for ever with EISDIR.
TEST_F(StoreTest, AStrayDirectoryAmongFilesDoesNotStopTheStart) {
  ThreadPool pool({.name = "cpu"});
  ASSERT_TRUE(Open(scratch_.path(), pool).ok());
  const std::filesystem::path strays[] = {scratch_.path() / "blobs/sha256/ab/stray",
                                          scratch_.path() / "ingest/stray"};
  for (const auto& stray : strays) {
    std::filesystem::create_directories(stray / "deep");
    std::ofstream(stray / "deep/file") << "x";
  }
  auto store = Open(scratch_.path(), pool);
  ASSERT_TRUE(store.ok()) << store.status();
  for (const auto& stray : strays) EXPECT_FALSE(std::filesystem::exists(stray)) << stray;
  EXPECT_THAT(Problems(**store), IsEmpty());
}

// What a node does, over and over, on `root`, with a few threads. Never returns.
class Busy {
 public:
  explicit Busy(Store& store) : store_(store) {}

  [[noreturn]] void Run() {
    std::vector<std::thread> threads;
    for (uint32_t seed = 0; seed < 3; ++seed) threads.emplace_back([this, seed] { Work(seed); });
    for (auto& thread : threads) thread.join();
    ::_exit(0);
  }

 private:
  [[noreturn]] void Work(uint32_t seed) {
    std::mt19937 random(seed + static_cast<uint32_t>(::getpid()) * 7);
    for (uint32_t round = 0;; ++round) {
      const std::string bytes(kMinPieceSizeBytes * (1 + random() % 3) + random() % 1000,
                              static_cast<char>('a' + random() % 26));
      switch (random() % 3) {
        case 0:
          Grow(bytes, random);
          break;
        case 1:
          Ingest(bytes, std::to_string(random() % 5), random);
          break;
        default:
          Snapshots(std::to_string(::getpid()) + "/" + std::to_string(seed) + "/" +
                    std::to_string(round));
      }
      if (random() % 4 == 0) (void)store_.blobs().Remove(Digest::Of(bytes));
    }
  }

  void Grow(const std::string& bytes, std::mt19937& random) {
    const auto grown = store_.blobs().Grow(Digest::Of(bytes), bytes.size());
    if (!grown.ok() || !grown->writer) return;
    const uint64_t from = grown->blob->FirstMissing();
    (void)grown->blob->Write(from, std::string_view(bytes).substr(from, kMinPieceSizeBytes));
    if (random() % 3 == 0) {
      grown->blob->Fail(Unavailable("gave up"));
      return;
    }
    const uint64_t rest = grown->blob->FirstMissing();
    (void)grown->blob->Write(rest, std::string_view(bytes).substr(rest));
    (void)grown->blob->WaitComplete({}, Soon());
  }

  void Ingest(const std::string& bytes, const std::string& ref, std::mt19937& random) {
    auto ingest = store_.ingests().Open(ref, bytes.size(), Soon());
    if (!ingest.ok()) return;
    (void)(*ingest)->Truncate();
    (void)(*ingest)->Append(std::string_view(bytes).substr(0, 1000));
    if (random() % 3 == 0) return;
    (void)(*ingest)->Append(std::string_view(bytes).substr(1000));
    (void)(*ingest)->Commit(bytes.size(), Digest::Of(bytes), {});
  }

  void Snapshots(const std::string& id) {
    auto& snapshots = store_.snapshots();
    LayerInfo layer;
    layer.chain = layer.diff_id = layer.blob = Digest::Of(id);
    layer.boot_id = BootId();
    const auto directory = snapshots.BeginLayer();
    if (!directory.ok()) return;
    layer.directory = *directory;
    (void)snapshots.CommitLayer(layer);
    const auto alias = snapshots.Alias(layer.chain, "");
    if (!alias.ok()) return;
    (void)snapshots.Create(SnapshotKind::kActive, "a" + id, alias->name, {});
    (void)snapshots.Commit("c" + id, "a" + id, {}, {});
    (void)snapshots.Remove("c" + id);
    (void)snapshots.Remove(alias->name);
    (void)snapshots.Cleanup({});
  }

  Store& store_;
};

// Kills a working process at a random moment, opens what it left, and finds it in order; then
// another goes on with it.
TEST_F(StoreTest, SurvivesKill9AtAnyMoment) {
  std::mt19937 random(20);
  const auto end = std::chrono::steady_clock::now() + seconds(3);
  int kills = 0;
  while (std::chrono::steady_clock::now() < end || kills < 4) {
    const pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      SetLogLevel(LogLevel::kError);
      ThreadPool pool({.name = "cpu"});
      auto store = Open(scratch_.path(), pool);
      if (!store.ok()) ::_exit(1);
      Busy(**store).Run();
    }
    std::this_thread::sleep_for(milliseconds(random() % 250));  // the moment is the test
    ASSERT_EQ(::kill(child, SIGKILL), 0);
    int how = 0;
    ASSERT_EQ(::waitpid(child, &how, 0), child);
    ASSERT_TRUE(WIFSIGNALED(how)) << "the child could not open what was left: " << how;
    ++kills;
    ThreadPool pool({.name = "cpu"});
    auto store = Open(scratch_.path(), pool);
    ASSERT_TRUE(store.ok()) << store.status();
    ASSERT_THAT(Problems(**store), IsEmpty()) << "after " << kills << " kills";
  }
}

// A file system of 40 MiB of its own; the index reserves 8 of them.
TEST_F(StoreTest, AFullDiskLeavesNothingHalfMade) {
  if (::mount("tmpfs", scratch_.path().c_str(), "tmpfs", 0, "size=40m") != 0) {
    GTEST_SKIP() << "cannot mount a tmpfs here";
  }
  {
    ThreadPool pool({.name = "cpu"});
    auto opened = Open(scratch_.path(), pool);
    ASSERT_TRUE(opened.ok()) << opened.status();
    Store& store = **opened;
    const std::string big(24 << 20, 'x');
    auto early = store.blobs().Grow(Digest::Of(big), big.size());
    ASSERT_TRUE(early.ok()) << early.status();
    const std::string other(23 << 20, 'y');
    const Status promised = store.blobs().Grow(Digest::Of(other), other.size()).status();
    EXPECT_EQ(promised.code(), StatusCode::kResourceExhausted) << "that space is promised already";
    // Somebody else fills the disk.
    auto ingest = store.ingests().Open("ref", 0, Soon());
    Status full;
    uint64_t taken = 0;
    while (full.ok()) {
      full = (*ingest)->Append(std::string_view(other).substr(0, 1 << 20));
      if (full.ok()) taken += 1 << 20;
    }
    EXPECT_EQ(full.code(), StatusCode::kResourceExhausted) << full;
    EXPECT_EQ((*ingest)->Info().offset_bytes, taken);
    const Status write = early->blob->Write(0, big);
    EXPECT_EQ(write.code(), StatusCode::kResourceExhausted) << write;
    early->blob->Fail(write);
    EXPECT_FALSE(store.blobs().Info(Digest::Of(big)).ok());
    ASSERT_TRUE((*ingest)->Abandon().ok());
    auto again = store.blobs().Grow(Digest::Of(big), big.size());
    ASSERT_TRUE(again.ok()) << again.status();
    const uint64_t from = again->blob->FirstMissing();
    EXPECT_TRUE(again->blob->Write(from, std::string_view(big).substr(from)).ok());
    EXPECT_TRUE(again->blob->WaitComplete({}, Soon()).ok()) << again->blob->failure();
    EXPECT_THAT(Problems(store), IsEmpty());
  }
}

}  // namespace
}  // namespace hearth::store
