#include "store/collector.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "store/faulty.h"

namespace hearth::store {
namespace {

using std::chrono::hours;
using std::chrono::minutes;
using std::chrono::seconds;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

Digest Id(const std::string& name) { return Digest::Of(name); }
WallTime At(minutes since_epoch) { return WallTime(since_epoch); }

// --- which go ---

struct Picture {
  std::vector<Victim> candidates;
  std::unordered_map<Digest, size_t> layers_above;
  std::map<Digest, std::string> names;

  void Blob(const std::string& name, uint64_t size, Keep keep, minutes used) {
    candidates.push_back({VictimKind::kBlob, Id(name), size, 1, keep, At(used), {}});
    names[Id(name)] = name;
  }
  void Layer(const std::string& name, const std::string& below, uint64_t size, minutes used,
             Keep keep = Keep::kCached) {
    candidates.push_back({VictimKind::kLayer, Id(name), size, size, keep, At(used), {}});
    names[Id(name)] = name;
    if (below.empty()) return;
    candidates.back().parent_chain = Id(below);
    ++layers_above[Id(below)];
  }
  std::string Chosen(Shortage shortage) {
    std::string chosen;
    for (const auto& victim : ChooseVictims(candidates, layers_above, shortage)) {
      chosen += (chosen.empty() ? "" : " ") + names[victim.id];
    }
    return chosen;
  }
};

TEST(ChooseVictimsTest, NothingGoesWithoutAShortage) {
  Picture picture;
  picture.Blob("a", 10, Keep::kCached, minutes(1));
  EXPECT_EQ(picture.Chosen({}), "");
}

TEST(ChooseVictimsTest, CachedThenPreheatedThenPinnedEachOldestFirst) {
  Picture picture;
  picture.Blob("pinned", 10, Keep::kPinned, minutes(10));
  picture.Blob("new-preheat", 10, Keep::kPreheated, minutes(40));
  picture.Blob("old-preheat", 10, Keep::kPreheated, minutes(20));
  picture.Blob("new", 10, Keep::kCached, minutes(90));
  picture.Blob("old", 10, Keep::kCached, minutes(80));
  EXPECT_EQ(picture.Chosen({.free_bytes = 15}), "old new");
  EXPECT_EQ(picture.Chosen({.free_bytes = 35}), "old new old-preheat new-preheat");
  EXPECT_EQ(picture.Chosen({.free_bytes = 99}), "old new old-preheat new-preheat pinned");
}

TEST(ChooseVictimsTest, ThePinnedGoForTheFileSystemNotForTheQuota) {
  Picture picture;
  picture.Blob("pinned", 10, Keep::kPinned, minutes(10));
  picture.Blob("preheat", 10, Keep::kPreheated, minutes(20));
  EXPECT_EQ(picture.Chosen({.quota_bytes = 99}), "preheat");
  EXPECT_EQ(picture.Chosen({.free_bytes = 11, .quota_bytes = 99}), "preheat pinned");
}

TEST(ChooseVictimsTest, OfThoseUsedTogetherTheLargestGoesFirst) {
  Picture picture;
  picture.Blob("manifest", 1, Keep::kPreheated, minutes(100));
  picture.Blob("layer", 50, Keep::kPreheated, minutes(101));
  EXPECT_EQ(picture.Chosen({.free_bytes = 30}), "layer");
}

TEST(ChooseVictimsTest, ALayerGoesOnlyAfterAllThatLieOnIt) {
  Picture picture;
  picture.Layer("base", "", 10, minutes(1));
  picture.Layer("left", "base", 10, minutes(50));
  picture.Layer("right", "base", 10, minutes(60));
  EXPECT_EQ(picture.Chosen({.free_bytes = 5}), "left");
  EXPECT_EQ(picture.Chosen({.free_bytes = 99}), "left right base");
}

TEST(ChooseVictimsTest, ALayerUnderOneThatIsNoCandidateStays) {
  Picture picture;
  picture.Layer("base", "", 10, minutes(1));
  ++picture.layers_above[Id("base")];  // by one that a snapshot uses
  EXPECT_EQ(picture.Chosen({.free_bytes = 5}), "");
}

TEST(ChooseVictimsTest, ForInodesAloneLayersGoFirst) {
  Picture picture;
  picture.Blob("old blob", 1000, Keep::kCached, minutes(1));
  picture.Blob("pinned", 1000, Keep::kPinned, minutes(1));
  picture.Layer("small", "", 10, minutes(1000));  // as many inodes as bytes
  picture.Layer("large", "", 500, minutes(1001));
  picture.Layer("preheat", "", 500, minutes(2), Keep::kPreheated);
  EXPECT_EQ(picture.Chosen({.inodes = 400}), "large");
  EXPECT_EQ(picture.Chosen({.inodes = 505}), "large small");
  EXPECT_EQ(picture.Chosen({.inodes = 511}), "large small old blob");
  EXPECT_EQ(picture.Chosen({.inodes = 512}), "large small old blob preheat");
  EXPECT_EQ(picture.Chosen({.inodes = 9999}), "large small old blob preheat pinned");
}

TEST(ChooseVictimsTest, BytesAndThenInodes) {
  Picture picture;
  picture.Blob("blob", 1000, Keep::kCached, minutes(1));
  picture.Blob("next blob", 1000, Keep::kCached, minutes(20));
  picture.Layer("layer", "", 100, minutes(1000));
  EXPECT_EQ(picture.Chosen({.free_bytes = 900, .inodes = 50}), "blob layer");
}

// --- the store ---

// A file system of `total` bytes that holds what the store's records say, and `others`.
class SmallDisk final : public Disk {
 public:
  Result<uint64_t> TotalBytes(const std::filesystem::path& /*path*/) override { return total; }
  Result<uint64_t> FreeBytes(const std::filesystem::path& /*path*/) override {
    uint64_t used = others;
    if (store != nullptr) {
      TRY_STATUS(
          store->blobs().List([&](const BlobInfo& info) { return used += info.size_bytes; }));
      TRY_STATUS(store->snapshots().ListLayers(
          [&](const LayerInfo& info) { return used += info.disk_bytes; }));
    }
    return used > total ? 0 : total - used;
  }

  // 1,000 inodes, of which the store's layers have what their records say.
  Result<Inodes> CountInodes(const std::filesystem::path& /*path*/) override {
    uint64_t used = other_inodes;
    TRY_STATUS(store->snapshots().ListLayers(
        [&](const LayerInfo& info) { return (used += info.inodes) > 0; }));
    return Inodes{.free = used > total_inodes ? 0 : total_inodes - used, .total = total_inodes};
  }

  Status Remove(const std::filesystem::path& path) override {
    if (path == undeletable) return FailedPrecondition("Operation not permitted");
    return Disk::Remove(path);
  }

  Store* store = nullptr;
  std::filesystem::path undeletable;
  uint64_t total_inodes = 1'000;
  uint64_t other_inodes = 0;
  uint64_t total = 1'000;
  uint64_t others = 0;
};

class CollectorTest : public testing::Test {
 protected:
  CollectorTest() { disk_.store = store_.get(); }
  ~CollectorTest() override { disk_.store = nullptr; }

  std::unique_ptr<Store> OpenStore() {
    auto opened = Store::Open({.root = scratch_.path(),
                               .cpu_pool = pool_,
                               .clock = clock_,
                               .disk = disk_,
                               .kv = kv::MakeMemoryKv()});
    CHECK(opened.ok());
    return std::move(*opened);
  }
  // A blob of so many bytes that nobody claims.
  Digest Blob(const std::string& name, size_t size) {
    std::string bytes = name;
    bytes.resize(size, '.');
    const auto blob = store_->blobs().Grow(Digest::Of(bytes), size)->blob;
    EXPECT_TRUE(blob->Write(0, bytes).ok());
    EXPECT_TRUE(blob->WaitComplete({}, Deadline::After(seconds(20))).ok());
    return blob->digest();
  }
  LayerInfo Layer(const std::string& name, std::optional<Digest> below, const Digest& blob,
                  bool durable = true) {
    LayerInfo layer;
    layer.chain = Id(name);
    layer.parent_chain = below;
    layer.diff_id = Id("diff " + name);
    layer.blob = blob;
    layer.directory = store_->snapshots().BeginLayer().value();
    layer.disk_bytes = 200;
    layer.inodes = 2;
    layer.durable = durable;
    layer.boot_id = BootId();
    EXPECT_TRUE(store_->snapshots().CommitLayer(layer).ok());
    return layer;
  }
  bool Has(const Digest& blob) { return store_->blobs().Info(blob).ok(); }
  bool HasLayer(const LayerInfo& layer) { return store_->snapshots().FindLayer(layer.chain).ok(); }
  void Age() { clock_.Advance(hours(1)); }
  Collected Collect(bool dry_run = false) {
    visited_.clear();
    const auto done = collector_.Collect(
        dry_run, [this](const Victim& victim) { visited_.push_back(victim.id); }, {});
    EXPECT_TRUE(done.ok()) << done.status();
    return done.ok() ? *done : Collected();
  }

  Scratch scratch_;
  FakeClock clock_;
  SmallDisk disk_;
  ThreadPool pool_{{.name = "cpu", .threads = 2}};
  std::unique_ptr<Store> store_ = OpenStore();
  FileSystemSize size_;
  SpaceLimits limits_{.quota_bytes = 1'000, .min_free_bytes = 300};
  std::vector<Digest> visited_;
  Collector collector_{{.store = *store_,
                        .limits =
                            [this](const FileSystemSize& size) {
                              size_ = size;
                              return limits_;
                            },
                        .clock = clock_,
                        .disk = disk_}};
};

TEST_F(CollectorTest, FreesJustEnoughWhoeverFilledTheFileSystem) {
  const Digest old = Blob("old", 100);
  Age();
  const Digest used = Blob("new", 100);
  Age();
  EXPECT_EQ(Collect().blobs, 0);
  disk_.others = 600;
  const Collected done = Collect();
  EXPECT_EQ(done.before.free_bytes, 100);
  EXPECT_FALSE(done.after.any());
  EXPECT_EQ(done.freed_bytes, 100);
  EXPECT_THAT(visited_, ElementsAre(old));
  EXPECT_FALSE(Has(old));
  EXPECT_TRUE(Has(used));
}

// As of a file that a container made immutable.
TEST_F(CollectorTest, WhatCannotBeDeletedDoesNotEndEviction) {
  auto& snapshots = store_->snapshots();
  const auto created = snapshots.Create(SnapshotKind::kActive, "container", "", {});
  disk_.undeletable = snapshots.FsPath(created->directory) / "immutable";
  std::ofstream(disk_.undeletable) << "x";
  ASSERT_TRUE(snapshots.Remove("container").ok());
  const Digest old = Blob("old", 100);
  Age();
  disk_.others = 700;
  EXPECT_FALSE(Collect().after.any());
  EXPECT_FALSE(Has(old));
  EXPECT_TRUE(collector_.MakeRoom(0, {}).ok());
}

TEST_F(CollectorTest, AReadIsAUseThatOutlivesTheProcess) {
  const Digest read = Blob("read", 100);
  const Digest idle = Blob("idle", 100);
  Age();
  EXPECT_TRUE(store_->blobs().Open(read).ok());
  Collect();  // records it
  Age();
  disk_.others = 600;
  Collect();
  EXPECT_THAT(visited_, ElementsAre(idle));
  EXPECT_EQ(store_->blobs().Info(read)->last_used, clock_.WallNow() - hours(1));
}

TEST_F(CollectorTest, ClaimedReadAndYoungBlobsStay) {
  const Digest claimed = Blob("claimed", 100);
  EXPECT_TRUE(store_->blobs().Claim(claimed).ok());
  const Digest read = Blob("read", 100);
  const auto reader = store_->blobs().Open(read).value();
  Age();
  const Digest young = Blob("young", 100);
  disk_.others = 900;
  const Collected done = Collect();
  EXPECT_THAT(visited_, IsEmpty());
  EXPECT_TRUE(done.after.any());
  EXPECT_TRUE(Has(claimed) && Has(read) && Has(young));
}

TEST_F(CollectorTest, AUseInTheFutureKeepsNothingForEver) {
  clock_.JumpWall(hours(24 * 365));
  const Digest blob = Blob("blob", 100);
  clock_.JumpWall(-hours(24 * 365));
  disk_.others = 900;
  Collect();
  EXPECT_THAT(visited_, ElementsAre(blob));
}

TEST_F(CollectorTest, AnUnfinishedBlobGoesUnlessSomebodyFetchesIt) {
  const std::string bytes(600'000, 'x');
  disk_.total = 1'000'000;
  const auto fetched = store_->blobs().Grow(Digest::Of(bytes), bytes.size())->blob;
  ASSERT_TRUE(fetched->Write(0, std::string_view(bytes).substr(0, 300'000)).ok());
  disk_.total = 200;
  clock_.JumpWall(std::chrono::system_clock::now() - clock_.WallNow());  // that of its file
  Age();
  Collect();
  EXPECT_THAT(visited_, IsEmpty());
  fetched->Fail(Aborted("end of the fetch"));
  EXPECT_EQ(Collect().blobs, 1);
  EXPECT_EQ(store_->blobs().Evict(Digest::Of(bytes), clock_.WallNow()).code(),
            StatusCode::kNotFound);
}

TEST_F(CollectorTest, LayersGoFromTheTopAndNotUnderASnapshot) {
  const Digest blob = Blob("blob", 1);
  EXPECT_TRUE(store_->blobs().Claim(blob).ok());
  const LayerInfo base = Layer("base", {}, blob);
  const LayerInfo idle = Layer("idle", base.chain, blob);
  const LayerInfo aliased = Layer("aliased", base.chain, blob);
  const auto below = store_->snapshots().Alias(base.chain, "").value();
  EXPECT_TRUE(store_->snapshots().Alias(aliased.chain, below.name).ok());
  Age();
  disk_.others = 900;
  Collect();
  EXPECT_THAT(visited_, ElementsAre(idle.chain));
  EXPECT_TRUE(HasLayer(base) && HasLayer(aliased));
  EXPECT_FALSE(HasLayer(idle));
  EXPECT_FALSE(std::filesystem::exists(store_->snapshots().FsPath(idle.directory)));
}

TEST_F(CollectorTest, TheBlobOfALayerThatAPowerLossCouldTakeStays) {
  const Digest blob = Blob("blob", 100);
  const LayerInfo layer = Layer("layer", {}, blob, /*durable=*/false);
  ASSERT_TRUE(store_->snapshots().Alias(layer.chain, "").ok());
  Age();
  disk_.others = 900;
  Collect();
  EXPECT_TRUE(Has(blob));
  ASSERT_TRUE(store_->snapshots().MarkDurable({layer.directory}).ok());
  Collect();
  EXPECT_FALSE(Has(blob));
}

TEST_F(CollectorTest, ALayerIsNotCommittedOnOneThatWasEvicted) {
  const Digest blob = Blob("blob", 1);
  const LayerInfo base = Layer("base", {}, blob);
  LayerInfo above = base;
  above.chain = Id("above");
  above.parent_chain = base.chain;
  above.directory = store_->snapshots().BeginLayer().value();
  Age();
  disk_.others = 900;
  Collect();
  ASSERT_FALSE(HasLayer(base));
  EXPECT_EQ(store_->snapshots().CommitLayer(above).code(), StatusCode::kFailedPrecondition);
  store_->snapshots().AbandonLayer(above.directory);
}

TEST_F(CollectorTest, APinGoesOnlyWhenTheFileSystemNeedsItAndCountsAsCachedWhenItEnded) {
  const Digest pinned = Blob("pinned", 100);
  const Digest preheated = Blob("preheated", 100);
  ASSERT_TRUE(store_->blobs().Preheat(pinned, clock_.WallNow() + hours(3)).ok());
  ASSERT_TRUE(store_->blobs().Preheat(preheated, {}).ok());
  Age();
  limits_ = {.quota_bytes = 50, .min_free_bytes = 0};
  Collect();
  EXPECT_THAT(visited_, ElementsAre(preheated));
  const Digest other = Blob("other", 60);
  ASSERT_TRUE(store_->blobs().Preheat(other, {}).ok());
  clock_.Advance(hours(3));
  limits_.quota_bytes = 100;
  Collect();
  EXPECT_THAT(visited_, ElementsAre(pinned));
}

TEST_F(CollectorTest, ADryRunTellsAndTakesNothing) {
  const Digest blob = Blob("blob", 100);
  Age();
  disk_.others = 700;
  const Collected done = Collect(/*dry_run=*/true);
  EXPECT_THAT(visited_, ElementsAre(blob));
  EXPECT_EQ(done.freed_bytes, 100);
  EXPECT_FALSE(done.after.any());
  EXPECT_TRUE(Has(blob));
}

TEST_F(CollectorTest, RoomIsMadeOrRefusedWithTheKeyToChange) {
  Blob("blob", 100);
  Age();
  EXPECT_TRUE(collector_.MakeRoom(600, {}).ok());
  EXPECT_EQ(store_->blobs().List([](const BlobInfo&) { return true; }).code(), StatusCode::kOk);
  disk_.others = 500;
  EXPECT_TRUE(collector_.MakeRoom(200, {}).ok());
  const Status full = collector_.MakeRoom(201, {});
  EXPECT_EQ(full.code(), StatusCode::kResourceExhausted);
  EXPECT_THAT(full.message(), HasSubstr("store.min_free"));
  limits_ = {.quota_bytes = 100, .min_free_bytes = 0};
  const Status over = collector_.MakeRoom(101, {});
  EXPECT_EQ(over.code(), StatusCode::kResourceExhausted);
  EXPECT_THAT(over.message(), HasSubstr("store.quota"));
}

TEST_F(CollectorTest, RoomThatIsOnlyCheckedTakesNothing) {
  const Digest blob = Blob("blob", 100);
  Age();
  disk_.others = 500;
  EXPECT_TRUE(collector_.CheckRoom(200, {}).ok());
  EXPECT_TRUE(Has(blob));
  EXPECT_EQ(collector_.CheckRoom(201, {}).code(), StatusCode::kResourceExhausted);
  EXPECT_TRUE(Has(blob));
  EXPECT_TRUE(collector_.MakeRoom(200, {}).ok());
  EXPECT_FALSE(Has(blob));
}

TEST_F(CollectorTest, ShortIsWhatMinFreeSays) {
  EXPECT_FALSE(*collector_.IsShort());
  disk_.others = 701;
  EXPECT_TRUE(*collector_.IsShort());
  limits_.min_free_bytes = 0;
  EXPECT_FALSE(*collector_.IsShort());
}

TEST_F(CollectorTest, InodesAreKeptFreeToo) {
  limits_ = {.quota_bytes = 1'000, .min_free_bytes = 0, .min_free_inodes = 100};
  const Digest blob = Blob("blob", 100);
  const LayerInfo layer = Layer("layer", {}, blob);
  Age();
  disk_.other_inodes = 850;
  EXPECT_FALSE(*collector_.IsShort());
  disk_.other_inodes = 901 - layer.inodes;
  EXPECT_TRUE(*collector_.IsShort());
  EXPECT_EQ(size_.inodes, 1'000u);
  Collect();
  EXPECT_FALSE(store_->snapshots().FindLayer(layer.chain).ok());
  EXPECT_TRUE(Has(blob)) << "one file of many bytes";
  EXPECT_FALSE(*collector_.IsShort());
  disk_.other_inodes = 950;
  const Status full = collector_.MakeRoom(1, {});
  EXPECT_EQ(full.code(), StatusCode::kResourceExhausted);
  EXPECT_THAT(full.message(), HasSubstr("store.min_free_inodes"));
  disk_.total_inodes = 0;  // as btrfs: there is nothing to run out of
  EXPECT_FALSE(*collector_.IsShort());
  EXPECT_TRUE(collector_.MakeRoom(1, {}).ok());
}

}  // namespace
}  // namespace hearth::store
