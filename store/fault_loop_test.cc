// The n-th write, sync, rename, removal or index write fails, for n = 1, 2, 3 … until nothing fails
// any more, in what a store does beside taking bytes in: it frees space, keeps marks and uses, and
// changes what containerd sees. After each the store is in order, also after a restart, and what
// was to be done can be done.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <set>

#include "store/collector.h"
#include "store/faulty.h"
#include "store/store.h"

namespace hearth::store {
namespace {

using std::chrono::hours;
using std::chrono::seconds;
using testing::IsEmpty;

// A file system of as many bytes as the test says.
class SmallFaultyDisk final : public FaultyDisk {
 public:
  using FaultyDisk::FaultyDisk;
  Result<uint64_t> TotalBytes(const std::filesystem::path& /*path*/) override { return 1 << 30; }
  Result<uint64_t> FreeBytes(const std::filesystem::path& /*path*/) override { return free_bytes; }

  uint64_t free_bytes = 1 << 30;
};

class FaultLoopTest : public testing::Test {
 protected:
  void SetUp() override { Reopen(); }
  void Reopen() {
    store_.reset();
    auto opened = Store::Open({.root = scratch_.path(),
                               .cpu_pool = pool_,
                               .clock = clock_,
                               .disk = disk_,
                               .kv = std::make_unique<FaultyKv>(*kv_, fault_)});
    ASSERT_TRUE(opened.ok()) << opened.status();
    store_ = std::move(*opened);
  }
  std::vector<std::string> Problems() {
    std::vector<std::string> problems;
    EXPECT_TRUE(
        store_->Verify(false, [&](const std::string& p) { problems.push_back(p); }, {}).ok());
    return problems;
  }

  // `prepare` makes what `work` is to change, without faults; the latter is done again after each.
  void Loop(const std::function<void()>& prepare, const std::function<Status()>& work,
            const std::function<void()>& check) {
    for (const bool lasting : {false, true}) {
      bool done = false;
      for (int n = 1; !done; ++n) {
        SCOPED_TRACE("n = " + std::to_string(n) + (lasting ? ", and all after it" : ""));
        ASSERT_LT(n, 100);
        ++try_;
        prepare();
        fault_.FailAt(n, lasting);
        const Status status = work();
        done = !fault_.hit();
        EXPECT_TRUE(!done || status.ok()) << status;
        fault_.Disarm();
        Reopen();
        ASSERT_THAT(Problems(), IsEmpty()) << status;
        const Status again = work();
        ASSERT_TRUE(again.ok()) << again << ", after " << status;
        check();
        ASSERT_THAT(Problems(), IsEmpty());
      }
      EXPECT_GT(try_, 1) << "nothing could fail";
    }
  }

  // A blob of the try, which nobody claims.
  Digest Blob(const std::string& name, size_t size = 100) {
    const std::string bytes = Bytes(name, size);
    const auto grown = store_->blobs().Grow(Digest::Of(bytes), size);
    EXPECT_TRUE(grown.ok()) << grown.status();
    if (grown->writer) {
      EXPECT_TRUE(grown->blob->Write(0, bytes).ok());
    }
    EXPECT_TRUE(grown->blob->WaitComplete({}, Deadline::After(seconds(20))).ok());
    return Digest::Of(bytes);
  }
  std::string Bytes(const std::string& name, size_t size) const {
    std::string bytes = name + std::to_string(try_);
    bytes.resize(size, '.');
    return bytes;
  }
  Digest Id(const std::string& name) const { return Digest::Of(name + std::to_string(try_)); }
  void Layer(const std::string& name, const std::string& below, const Digest& blob) {
    LayerInfo layer;
    layer.chain = Id(name);
    if (!below.empty()) layer.parent_chain = Id(below);
    layer.diff_id = Id("diff " + name);
    layer.blob = blob;
    layer.directory = store_->snapshots().BeginLayer().value();
    layer.disk_bytes = 200;
    layer.durable = true;
    std::ofstream(store_->snapshots().FsPath(layer.directory) / "file") << name;
    EXPECT_TRUE(store_->snapshots().CommitLayer(layer).ok());
  }
  bool HasLayer(const std::string& name) { return store_->snapshots().FindLayer(Id(name)).ok(); }
  size_t Trees() {
    const std::filesystem::directory_iterator all(scratch_.path() / "snapshots");
    return static_cast<size_t>(std::distance(begin(all), end(all)));
  }
  Collector MakeCollector() {
    return Collector({.store = *store_,
                      .limits =
                          [](const FileSystemSize& /*size*/) {
                            return SpaceLimits{.quota_bytes = 1 << 30, .min_free_bytes = 1 << 20};
                          },
                      .clock = clock_,
                      .disk = disk_});
  }

  Scratch scratch_;
  FakeClock clock_;
  Fault fault_;
  SmallFaultyDisk disk_{fault_};
  std::unique_ptr<kv::Kv> kv_ = kv::MakeMemoryKv();
  ThreadPool pool_{{.name = "cpu", .threads = 2}};
  std::unique_ptr<Store> store_;
  int try_ = 0;
};

// What a shortage makes go goes, in whatever step the disk failed first; what is used stays whole.
TEST_F(FaultLoopTest, EvictionUnderAShortage) {
  Digest old, kept;
  Loop(
      [&] {
        disk_.free_bytes = 1 << 30;
        // Of a partial blob its file says when it was used, by the machine's time.
        clock_.JumpWall(std::chrono::system_clock::now() - clock_.WallNow());
        old = Blob("old");
        kept = Blob("kept");
        ASSERT_TRUE(store_->blobs().Claim(kept).ok());
        Layer("base", "", kept);
        Layer("top", "base", kept);
        const std::string partial = Bytes("partial", 600'000);
        const auto grown = store_->blobs().Grow(Digest::Of(partial), partial.size());
        ASSERT_TRUE(grown.ok() && grown->blob->Write(0, partial.substr(0, 300'000)).ok());
        grown->blob->Fail(Unavailable("gave up"));
        clock_.Advance(hours(1));
        disk_.free_bytes = 0;
      },
      [&]() -> Status {
        Collector collector = MakeCollector();
        TRY_STATUS(collector.Collect(false, nullptr, {}));
        return store_->snapshots().Cleanup({});
      },
      [&] {
        EXPECT_FALSE(store_->blobs().Info(old).ok());
        EXPECT_EQ(store_->blobs().PresentBytes(Digest::Of(Bytes("partial", 600'000))), 0u);
        EXPECT_FALSE(HasLayer("base") || HasLayer("top"));
        EXPECT_TRUE(store_->blobs().Info(kept).ok());
        EXPECT_EQ(Trees(), 0u);
        EXPECT_TRUE(store_->blobs().Unclaim(kept).ok());
      });
}

TEST_F(FaultLoopTest, RoomForAPreheat) {
  Digest old;
  Loop(
      [&] {
        disk_.free_bytes = 1 << 30;
        old = Blob("old", 5000);
        clock_.Advance(hours(1));
        disk_.free_bytes = (1 << 20) + 1000;
      },
      [&]() -> Status {
        Collector collector = MakeCollector();
        const Status made = collector.MakeRoom(4000, {});
        if (!store_->blobs().Info(old).ok()) disk_.free_bytes = 1 << 30;
        // This disk does not see what was freed.
        return made.code() == StatusCode::kResourceExhausted &&
                       made.message().find("injected") == std::string::npos
                   ? collector.MakeRoom(4000, {})
                   : made;
      },
      [&] { EXPECT_FALSE(store_->blobs().Info(old).ok()); });
}

TEST_F(FaultLoopTest, EvictionOfOneBlobAndOneLayer) {
  Digest blob;
  Loop(
      [&] {
        blob = Blob("blob");
        Layer("layer", "", blob);
        clock_.Advance(hours(1));
      },
      [&]() -> Status {
        const Status layer = store_->snapshots().EvictLayer(Id("layer"), clock_.WallNow());
        if (layer.code() != StatusCode::kNotFound) TRY_STATUS(layer);
        const Status evicted = store_->blobs().Evict(blob, clock_.WallNow());
        if (evicted.code() != StatusCode::kNotFound) TRY_STATUS(evicted);
        return store_->snapshots().Cleanup({});
      },
      [&] {
        EXPECT_FALSE(HasLayer("layer"));
        EXPECT_EQ(store_->blobs().PresentBytes(blob), 0u);
        EXPECT_EQ(Trees(), 0u);
      });
}

TEST_F(FaultLoopTest, MarksOfABlob) {
  Digest blob;
  WallTime until;
  Loop(
      [&] {
        blob = Blob("blob");
        until = clock_.WallNow() + hours(3);
      },
      [&]() -> Status {
        TRY_STATUS(store_->blobs().Preheat(blob, until));
        TRY_STATUS(store_->blobs().Claim(blob));
        TRY_STATUS(store_->blobs().UpdateLabels(blob, {{"a", "1"}}, true));
        TRY_STATUS(store_->blobs().DropAllClaims());
        TRY_STATUS(store_->blobs().Claim(blob));
        return store_->blobs().Unclaim(blob);
      },
      [&] {
        const auto info = store_->blobs().Info(blob);
        ASSERT_TRUE(info.ok()) << info.status();
        EXPECT_TRUE(info->preheated);
        EXPECT_FALSE(info->claimed);
        EXPECT_EQ(info->pinned_until, until);
        EXPECT_EQ(info->labels.at("a"), "1");
      });
}

// The index failed once: the uses that were to be recorded are recorded the next time.
TEST_F(FaultLoopTest, UsesAreNotForgottenWhenTheIndexFails) {
  std::set<Digest> blobs;
  for (const auto* name : {"a", "b", "c"}) blobs.insert(Blob(name));
  for (int n = 1; n <= 3; ++n) {
    clock_.Advance(hours(1));
    for (const Digest& blob : blobs) EXPECT_TRUE(store_->blobs().Open(blob).ok());
    const WallTime used = clock_.WallNow();
    fault_.FailAt(n, false);
    EXPECT_FALSE(store_->blobs().RecordUses().ok());
    EXPECT_TRUE(store_->blobs().RecordUses().ok());
    Reopen();
    for (const Digest& blob : blobs) EXPECT_EQ(store_->blobs().Info(blob)->last_used, used) << n;
  }
}

TEST_F(FaultLoopTest, MarksAndRemovalOfALayer) {
  WallTime until;
  Loop(
      [&] {
        Layer("layer", "", Id("blob"));
        until = clock_.WallNow() + hours(3);
        clock_.Advance(hours(1));
      },
      [&]() -> Status {
        auto& snapshots = store_->snapshots();
        if (!HasLayer("layer")) return snapshots.Cleanup({});
        TRY_STATUS(snapshots.TouchLayer(Id("layer")));
        TRY_STATUS(snapshots.PreheatLayer(Id("layer"), until));
        TRY_STATUS(snapshots.MarkDurable(snapshots.NotDurable()));
        const auto layer = TRY(snapshots.FindLayer(Id("layer")));
        EXPECT_TRUE(layer.preheated && layer.durable && layer.pinned_until == until);
        TRY_STATUS(snapshots.RemoveLayer(Id("layer")));
        return snapshots.Cleanup({});
      },
      [&] { EXPECT_EQ(Trees(), 0u); });
}

// containerd's calls, each of which it may send again.
TEST_F(FaultLoopTest, SnapshotsOfAPull) {
  std::string id;
  Loop(
      [&] {
        id = std::to_string(try_);
        Layer("layer", "", Id("blob"));
      },
      [&]() -> Status {
        auto& snapshots = store_->snapshots();
        const auto done = [](const Status& status, StatusCode also) {
          return status.code() == also ? OkStatus() : status;
        };
        const auto alias = TRY(snapshots.Alias(Id("layer"), ""));
        if (!snapshots.Stat("c" + id).ok()) {
          TRY_STATUS(
              done(snapshots.Create(SnapshotKind::kActive, "a" + id, alias.name, {}).status(),
                   StatusCode::kAlreadyExists));
          TRY_STATUS(snapshots.Commit("c" + id, "a" + id, {{"k", "v"}}, {}));
        }
        TRY_STATUS(done(snapshots.Create(SnapshotKind::kView, "v" + id, "c" + id, {}).status(),
                        StatusCode::kAlreadyExists));
        TRY_STATUS(snapshots.Remove("v" + id));
        return snapshots.Cleanup({});
      },
      [&] {
        auto& snapshots = store_->snapshots();
        EXPECT_EQ(snapshots.Stat("c" + id)->labels.at("k"), "v");
        EXPECT_EQ(snapshots.Lowers("c" + id)->size(), 1u);
        EXPECT_EQ(Trees(), 2u);
        EXPECT_TRUE(snapshots.Remove("c" + id).ok());
        EXPECT_TRUE(snapshots.Remove(snapshots.Alias(Id("layer"), "")->name).ok());
        EXPECT_FALSE(HasLayer("layer"));
        EXPECT_TRUE(snapshots.Cleanup({}).ok());
        EXPECT_EQ(Trees(), 0u);
      });
}

TEST_F(FaultLoopTest, RestoreAfterALostStore) {
  SnapshotInfo alias, active;
  Loop(
      [&] {
        Layer("layer", "", Id("blob"));
        alias.name = "hearth/" + std::to_string(1000 * try_) + "/" + Id("layer").ToString();
        alias.kind = SnapshotKind::kCommitted;
        alias.chain = Id("layer");
        active.name = "k8s.io/" + std::to_string(try_) + "/box";
        active.parent = alias.name;
      },
      [&]() -> Status {
        for (const auto* info : {&alias, &active}) {
          const Status restored = store_->snapshots().Restore(*info);
          if (restored.code() != StatusCode::kAlreadyExists) TRY_STATUS(restored);
        }
        return OkStatus();
      },
      [&] {
        EXPECT_EQ(store_->snapshots().Stat(active.name)->parent, alias.name);
        EXPECT_EQ(store_->snapshots().Lowers(active.name)->size(), 1u);
        EXPECT_TRUE(store_->snapshots().Remove(active.name).ok());
        EXPECT_TRUE(store_->snapshots().Remove(alias.name).ok());
        EXPECT_TRUE(store_->snapshots().Cleanup({}).ok());
      });
}

// A file that `hearth adopt` brought beside the blobs, then taken in.
TEST_F(FaultLoopTest, AdoptionOfAFile) {
  std::string bytes;
  std::filesystem::path file;
  Loop(
      [&] {
        bytes = Bytes("adopted", 5000);
        file = scratch_.path() / "ingest" / ("adopt-" + Digest::Of(bytes).hex());
      },
      [&]() -> Status {
        if (store_->blobs().Claim(Digest::Of(bytes)).ok()) return OkStatus();
        std::ofstream(file) << bytes;
        const auto adopted = store_->blobs().Adopt(file, Digest::Of(bytes), bytes.size(), {});
        if (!adopted.ok()) std::filesystem::remove(file);
        return adopted.status();
      },
      [&] {
        const auto info = store_->blobs().Info(Digest::Of(bytes));
        ASSERT_TRUE(info.ok()) << info.status();
        EXPECT_TRUE(info->claimed);
        EXPECT_FALSE(std::filesystem::exists(file));
      });
}

}  // namespace
}  // namespace hearth::store
