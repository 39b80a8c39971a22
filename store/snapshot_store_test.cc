#include "store/snapshot_store.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fstream>

#include "store/faulty.h"

namespace hearth::store {
namespace {

using std::chrono::hours;
using std::chrono::nanoseconds;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::StartsWith;

class SnapshotStoreTest : public testing::Test {
 protected:
  void SetUp() override { Reopen(); }
  void Reopen() {
    store_.reset();
    auto opened = SnapshotStore::Open(
        {.root = scratch_.path(),
         .kv = faulty_kv_,
         .clock = clock_,
         .disk = disk_,
         .pause = [this](auto time, const std::stop_token&) { pauses_.push_back(time); }});
    ASSERT_TRUE(opened.ok()) << opened.status();
    store_ = std::move(*opened);
  }
  static Digest Id(const std::string& name) { return Digest::Of(name); }
  StatusCode CreateCode(const std::string& key, const std::string& parent = "") {
    return store_->Create(SnapshotKind::kActive, key, parent, {}).status().code();
  }
  // A committed snapshot of containerd's own.
  SnapshotInfo Committed(const std::string& name, const std::string& parent = "",
                         const Labels& labels = {}) {
    EXPECT_EQ(CreateCode("active-" + name, parent), StatusCode::kOk);
    auto info = store_->Commit(name, "active-" + name, labels, {});
    EXPECT_TRUE(info.ok()) << info.status();
    return *info;
  }
  // A verified layer `name` on layer `below`.
  LayerInfo Layer(const std::string& name, const std::string& below = "", bool durable = true) {
    LayerInfo layer;
    layer.chain = Id(name);
    if (!below.empty()) layer.parent_chain = Id(below);
    layer.diff_id = Id("diff " + name);
    layer.blob = Id("blob " + name);
    layer.directory = store_->BeginLayer().value();
    layer.tar_bytes = 5;
    layer.disk_bytes = 4096;
    layer.inodes = 2;
    layer.durable = durable;
    layer.boot_id = BootId();
    std::ofstream(store_->FsPath(layer.directory) / "file") << name;
    EXPECT_TRUE(store_->CommitLayer(layer).ok());
    return layer;
  }
  bool HasLayer(const std::string& name) { return store_->FindLayer(Id(name)).ok(); }
  std::vector<std::string> Names() {
    std::vector<std::string> names;
    EXPECT_TRUE(store_
                    ->List([&](const SnapshotInfo& info) {
                      names.push_back(info.name);
                      return true;
                    })
                    .ok());
    return names;
  }
  std::vector<std::string> Problems() {
    std::vector<std::string> problems;
    EXPECT_TRUE(store_->Verify([&](const std::string& p) { problems.push_back(p); }).ok());
    return problems;
  }
  size_t Directories() {
    const std::filesystem::directory_iterator all(scratch_.path() / "snapshots");
    return static_cast<size_t>(std::distance(begin(all), end(all)));
  }

  Scratch scratch_;
  FakeClock clock_;
  Fault fault_;
  FaultyDisk disk_{fault_};
  std::unique_ptr<kv::Kv> kv_ = kv::MakeMemoryKv();
  FaultyKv faulty_kv_{*kv_, fault_};
  std::vector<std::chrono::milliseconds> pauses_;
  std::unique_ptr<SnapshotStore> store_;
};

TEST_F(SnapshotStoreTest, CreateHasContainerdsCodes) {
  EXPECT_EQ(CreateCode("a"), StatusCode::kOk);
  EXPECT_EQ(CreateCode("a"), StatusCode::kAlreadyExists);
  EXPECT_EQ(CreateCode("b", "absent"), StatusCode::kNotFound);
  EXPECT_EQ(CreateCode("b", "a"), StatusCode::kInvalidArgument);
  EXPECT_EQ(CreateCode(""), StatusCode::kInvalidArgument);
  const auto info = store_->Stat("a");
  EXPECT_EQ(info->kind, SnapshotKind::kActive);
  EXPECT_EQ(info->created, clock_.WallNow());
  EXPECT_EQ(info->updated, clock_.WallNow());
  EXPECT_EQ(store_->Stat("b").status().code(), StatusCode::kNotFound);
}

TEST_F(SnapshotStoreTest, DirectoriesAreAsContainerdMakesThem) {
  const mode_t old = ::umask(077);
  const SnapshotInfo base = Committed("base");
  ASSERT_EQ(::chown(store_->FsPath(base.directory).c_str(), 12, 34), 0);
  const auto child = store_->Create(SnapshotKind::kActive, "child", "base", {});
  ::umask(old);
  struct stat info {};
  ASSERT_EQ(::stat(store_->FsPath(child->directory).c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 07777, 0755u);
  EXPECT_EQ(info.st_uid, 12u);
  EXPECT_EQ(info.st_gid, 34u);
  ASSERT_EQ(::stat(store_->WorkPath(child->directory).c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 07777, 0711u);
  EXPECT_THAT(*store_->Lowers("child"), ElementsAre(store_->FsPath(base.directory)));
}

TEST_F(SnapshotStoreTest, CommitHasContainerdsCodes) {
  Committed("base");
  ASSERT_TRUE(store_->Create(SnapshotKind::kView, "view", "base", {}).ok());
  ASSERT_TRUE(store_->Create(SnapshotKind::kActive, "a", "base", {{"old", "1"}}).ok());
  EXPECT_EQ(store_->Commit("base", "a", {}, {}).status().code(), StatusCode::kAlreadyExists);
  EXPECT_EQ(store_->Commit("x", "absent", {}, {}).status().code(), StatusCode::kNotFound);
  EXPECT_EQ(store_->Commit("x", "view", {}, {}).status().code(), StatusCode::kFailedPrecondition);
  EXPECT_EQ(store_->Commit("x", "base", {}, {}).status().code(), StatusCode::kFailedPrecondition);
  clock_.Advance(nanoseconds(3));
  const auto info = store_->Commit("x", "a", {{"new", "2"}}, {});
  ASSERT_TRUE(info.ok());
  EXPECT_EQ(info->labels, (Labels{{"new", "2"}}));
  EXPECT_EQ(info->created, clock_.WallNow());
  EXPECT_EQ(info->parent, "base");
  EXPECT_EQ(store_->Stat("a").status().code(), StatusCode::kNotFound);
  EXPECT_EQ(store_->Stat("x")->kind, SnapshotKind::kCommitted);
}

TEST_F(SnapshotStoreTest, RemoveGoesFromTheTop) {
  Committed("base");
  Committed("middle", "base");
  EXPECT_EQ(CreateCode("top", "middle"), StatusCode::kOk);
  const Status refused = store_->Remove("base");
  EXPECT_EQ(refused.code(), StatusCode::kFailedPrecondition);
  EXPECT_THAT(refused.message(), HasSubstr("remove"));
  EXPECT_EQ(store_->Remove("absent").code(), StatusCode::kNotFound);
  for (const std::string name : {"top", "middle", "base"}) EXPECT_TRUE(store_->Remove(name).ok());
  EXPECT_THAT(Names(), IsEmpty());
  EXPECT_THAT(Problems(), IsEmpty()) << "doomed directories are known";
  EXPECT_EQ(Directories(), 3u);
  ASSERT_TRUE(store_->Cleanup({}).ok());
  EXPECT_EQ(Directories(), 0u);
}

TEST_F(SnapshotStoreTest, CleanupCanBeStopped) {
  Committed("base");
  ASSERT_TRUE(store_->Remove("base").ok());
  std::stop_source stop;
  stop.request_stop();
  EXPECT_EQ(store_->Cleanup(stop.get_token()).code(), StatusCode::kCancelled);
  EXPECT_EQ(Directories(), 1u);
  Reopen();
  ASSERT_TRUE(store_->Cleanup({}).ok());
  EXPECT_EQ(Directories(), 0u);
}

// As with a file that a container made immutable.
TEST_F(SnapshotStoreTest, WhatCannotBeDeletedKeepsNothingElse) {
  const std::vector<std::string> names = {"a", "stuck", "z"};
  std::filesystem::path stuck;
  for (const std::string& name : names) {
    const auto files = store_->FsPath(Committed(name).directory);
    for (const std::string file : {"1", "2", "3"}) std::ofstream(files / file) << "x";
    if (name == "stuck") stuck = files;
  }
  disk_.undeletable = stuck / "2";
  for (const std::string& name : names) ASSERT_TRUE(store_->Remove(name).ok());
  for (int round = 0; round < 2; ++round) {
    EXPECT_THAT(store_->Cleanup({}).message(), HasSubstr((stuck / "2").string()));
    EXPECT_EQ(Directories(), 1u);
    EXPECT_FALSE(std::filesystem::exists(stuck / "1") || std::filesystem::exists(stuck / "3"));
    EXPECT_THAT(Problems(), IsEmpty());
  }
  disk_.undeletable.clear();
  EXPECT_TRUE(store_->Cleanup({}).ok());
  EXPECT_EQ(Directories(), 0u);
}

TEST_F(SnapshotStoreTest, AStartDoesNotWaitForTheRemovalOfATree) {
  const SnapshotInfo info = Committed("large");
  for (int i = 0; i < 3; ++i) std::ofstream(store_->FsPath(info.directory) / std::to_string(i));
  ASSERT_TRUE(store_->Remove("large").ok());
  Reopen();
  EXPECT_TRUE(std::filesystem::exists(store_->FsPath(info.directory) / "0"));
  EXPECT_THAT(Problems(), IsEmpty());
  ASSERT_TRUE(store_->Cleanup({}).ok());
  EXPECT_EQ(Directories(), 0u);
}

TEST_F(SnapshotStoreTest, TheRemovalOfALargeTreePausesAndLongerWhileALayerIsUnpacked) {
  for (const bool unpacking : {false, true}) {
    const SnapshotInfo info = Committed("large");
    for (int i = 0; i < 3 * kRemovalsPerTurn; ++i) {
      std::ofstream(store_->FsPath(info.directory) / std::to_string(i));
    }
    ASSERT_TRUE(store_->Remove("large").ok());
    pauses_.clear();
    const auto begun = unpacking ? *store_->BeginLayer() : 0;
    ASSERT_TRUE(store_->Cleanup({}).ok());
    const auto pause = unpacking ? kRemovalPauseBesideUnpacks : kRemovalPause;
    EXPECT_THAT(pauses_, ElementsAre(pause, pause, pause));
    if (unpacking) store_->AbandonLayer(begun);
  }
}

TEST_F(SnapshotStoreTest, LabelsAreChangedOrReplaced) {
  Committed("base", "", {{"a", "1"}, {"b", "2"}});
  const auto created = clock_.WallNow();
  clock_.Advance(nanoseconds(5));
  EXPECT_EQ(store_->UpdateLabels("base", {{"a", ""}, {"c", "3"}}, false)->labels,
            (Labels{{"b", "2"}, {"c", "3"}}));
  EXPECT_EQ(store_->UpdateLabels("base", {{"d", "4"}}, true)->labels, (Labels{{"d", "4"}}));
  EXPECT_EQ(store_->Stat("base")->created, created);
  EXPECT_EQ(store_->Stat("base")->updated, created + nanoseconds(5));
  EXPECT_EQ(store_->UpdateLabels("absent", {}, true).status().code(), StatusCode::kNotFound);
}

TEST_F(SnapshotStoreTest, UsageCountsBlocksAndInodesOnce) {
  ASSERT_EQ(CreateCode("a"), StatusCode::kOk);
  const auto fs = store_->FsPath(store_->Stat("a")->directory);
  std::ofstream(fs / "file") << std::string(10'000, 'x');
  std::filesystem::create_hard_link(fs / "file", fs / "again");
  std::filesystem::create_directory(fs / "d");
  std::filesystem::create_symlink("nowhere", fs / "link");
  EXPECT_EQ(store_->Usage("a")->inodes, 4u);
  EXPECT_GE(store_->Usage("a")->size_bytes, 12'288u);
  ASSERT_TRUE(store_->Commit("c", "a", {}, {}).ok());
  const auto committed = store_->Usage("c");
  EXPECT_EQ(committed->inodes, 4u);
  std::ofstream(fs / "later") << "x";
  EXPECT_EQ(store_->Usage("c")->inodes, 4u) << "a committed one is measured once";
  EXPECT_EQ(store_->Usage("absent").status().code(), StatusCode::kNotFound);
}

TEST_F(SnapshotStoreTest, LayersAreInvisibleUntilAliased) {
  const auto low = Layer("low"), high = Layer("high", "low");
  EXPECT_THAT(Names(), IsEmpty());
  EXPECT_THAT(*store_->LayerPaths(Id("high")),
              ElementsAre(store_->FsPath(high.directory), store_->FsPath(low.directory)));
  EXPECT_EQ(store_->FindLayer(Id("high"))->tar_bytes, 5u);
  const auto alias = store_->Alias(Id("low"), "");
  ASSERT_TRUE(alias.ok());
  EXPECT_THAT(alias->name, StartsWith("hearth/"));
  EXPECT_THAT(alias->name, HasSubstr("/" + Id("low").ToString()));
  EXPECT_EQ(alias->labels.at(kSnapshotRefLabel), Id("low").ToString());
  EXPECT_EQ(alias->kind, SnapshotKind::kCommitted);
  EXPECT_EQ(store_->Alias(Id("low"), "")->name, alias->name) << "made once";
  const auto top = store_->Alias(Id("high"), alias->name);
  ASSERT_TRUE(top.ok());
  ASSERT_EQ(CreateCode("container", top->name), StatusCode::kOk);
  EXPECT_THAT(*store_->Lowers("container"),
              ElementsAre(store_->FsPath(high.directory), store_->FsPath(low.directory)));
  EXPECT_EQ(store_->Usage(top->name)->size_bytes, 4096u);
  EXPECT_EQ(store_->Alias(Id("absent"), "").status().code(), StatusCode::kNotFound);
  EXPECT_EQ(store_->Alias(Id("high"), "absent").status().code(), StatusCode::kNotFound);
  EXPECT_EQ(store_->Alias(Id("high"), "").status().code(), StatusCode::kFailedPrecondition);
  EXPECT_EQ(store_->Alias(Id("low"), top->name).status().code(), StatusCode::kFailedPrecondition);
  EXPECT_THAT(Problems(), IsEmpty());
}

TEST_F(SnapshotStoreTest, ALayerOnWhatContainerdUnpackedItself) {
  Layer("low");
  Layer("high", "low");
  const std::string low = Id("low").ToString();
  Committed("k8s.io/1/low", "", {{kSnapshotRefLabel, low}});
  Committed("k8s.io/2/other", "", {{kSnapshotRefLabel, Id("other").ToString()}});
  const auto alias = store_->Alias(Id("high"), "k8s.io/1/low");
  ASSERT_TRUE(alias.ok()) << alias.status();
  EXPECT_EQ(store_->Alias(Id("high"), "k8s.io/2/other").status().code(),
            StatusCode::kFailedPrecondition);
  EXPECT_EQ(store_->FindByRef(low, "", "k8s.io/")->name, "k8s.io/1/low");
  EXPECT_EQ(store_->FindByRef(low, "", "moby/").status().code(), StatusCode::kNotFound)
      << "only what we verified crosses namespaces";
  const std::string high = Id("high").ToString();
  EXPECT_EQ(store_->FindByRef(high, "k8s.io/1/low", "moby/")->name, alias->name);
  EXPECT_EQ(store_->FindByRef(high, "", "moby/").status().code(), StatusCode::kNotFound);
}

TEST_F(SnapshotStoreTest, TheLastAliasTakesItsLayersAlong) {
  Layer("low");
  Layer("high", "low");
  const auto low = store_->Alias(Id("low"), "");
  const auto high = store_->Alias(Id("high"), low->name);
  EXPECT_EQ(store_->RemoveLayer(Id("high")).code(), StatusCode::kFailedPrecondition);
  EXPECT_EQ(store_->RemoveLayer(Id("low")).code(), StatusCode::kFailedPrecondition);
  ASSERT_TRUE(store_->Remove(high->name).ok());
  EXPECT_FALSE(HasLayer("high"));
  EXPECT_TRUE(HasLayer("low")) << "aliased still";
  ASSERT_TRUE(store_->Remove(low->name).ok());
  EXPECT_FALSE(HasLayer("low"));
  ASSERT_TRUE(store_->Cleanup({}).ok());
  EXPECT_EQ(Directories(), 0u);
}

TEST_F(SnapshotStoreTest, ALayerStaysWhileAnotherOneOrAnotherAliasNeedsIt) {
  Layer("low");
  Layer("high", "low");
  Committed("own", "", {{kSnapshotRefLabel, Id("low").ToString()}});
  const auto low = store_->Alias(Id("low"), "");
  const auto one = store_->Alias(Id("high"), low->name);
  const auto two = store_->Alias(Id("high"), "own");
  ASSERT_TRUE(store_->Remove(one->name).ok());
  EXPECT_TRUE(HasLayer("high")) << "another alias";
  ASSERT_TRUE(store_->Remove(low->name).ok());
  EXPECT_TRUE(HasLayer("low")) << "high lies on it";
  ASSERT_TRUE(store_->Remove(two->name).ok());
  EXPECT_FALSE(HasLayer("high"));
  EXPECT_FALSE(HasLayer("low")) << "only high kept it";
  EXPECT_THAT(Problems(), IsEmpty());
}

TEST_F(SnapshotStoreTest, ALayerWhosePreheatIsTakenBackStaysWhileItIsNeeded) {
  Layer("low");
  Layer("high", "low");
  for (const char* name : {"low", "high"}) {
    ASSERT_TRUE(store_->PreheatLayer(Id(name), clock_.WallNow() + hours(1)).ok());
  }
  EXPECT_EQ(store_->DropPreheatOfLayer(Id("absent")).status().code(), StatusCode::kNotFound);
  EXPECT_FALSE(store_->DropPreheatOfLayer(Id("low")).value()) << "high lies on it";
  EXPECT_FALSE(store_->FindLayer(Id("low"))->preheated);
  const auto low = store_->Alias(Id("low"), "");
  EXPECT_TRUE(store_->DropPreheatOfLayer(Id("high")).value());
  EXPECT_FALSE(HasLayer("high"));
  EXPECT_FALSE(store_->DropPreheatOfLayer(Id("low")).value()) << "a snapshot is one of it";
  ASSERT_TRUE(store_->Remove(low->name).ok());
  EXPECT_FALSE(HasLayer("low"));
  ASSERT_TRUE(store_->Cleanup({}).ok());
  EXPECT_EQ(Directories(), 0u);
  EXPECT_THAT(Problems(), IsEmpty());
}

TEST_F(SnapshotStoreTest, PreheatedAndPinnedLayersStay) {
  Layer("warm");
  Layer("pinned");
  ASSERT_TRUE(store_->PreheatLayer(Id("warm"), {}).ok());
  ASSERT_TRUE(store_->PreheatLayer(Id("pinned"), clock_.WallNow() + hours(1)).ok());
  EXPECT_EQ(store_->PreheatLayer(Id("absent"), {}).code(), StatusCode::kNotFound);
  for (const std::string name : {"warm", "pinned"}) {
    ASSERT_TRUE(store_->Remove(store_->Alias(Id(name), "")->name).ok());
    EXPECT_TRUE(HasLayer(name));
  }
  EXPECT_THAT(Names(), IsEmpty());
  EXPECT_TRUE(store_->RemoveLayer(Id("warm")).ok());
  EXPECT_EQ(store_->RemoveLayer(Id("warm")).code(), StatusCode::kNotFound);
}

TEST_F(SnapshotStoreTest, ACommitOverALayerIsPointedToIt) {
  const auto layer = Layer("low");
  Layer("high", "low");
  const auto active = store_->Create(SnapshotKind::kActive, "extract", "", {});
  std::ofstream(store_->FsPath(active->directory) / "partly") << "unpacked";
  EXPECT_EQ(store_->Commit("k8s.io/1/low", "extract", {}, Id("high")).status().code(),
            StatusCode::kFailedPrecondition);
  EXPECT_EQ(store_->Commit("k8s.io/1/low", "extract", {}, Id("absent")).status().code(),
            StatusCode::kFailedPrecondition);
  const auto info = store_->Commit("k8s.io/1/low", "extract",
                                   {{kSnapshotRefLabel, Id("low").ToString()}}, Id("low"));
  ASSERT_TRUE(info.ok()) << info.status();
  EXPECT_EQ(info->chain, Id("low"));
  EXPECT_EQ(info->directory, layer.directory);
  ASSERT_TRUE(store_->Cleanup({}).ok());
  EXPECT_EQ(Directories(), 2u);
  EXPECT_TRUE(std::filesystem::exists(store_->FsPath(layer.directory) / "file"));
  EXPECT_EQ(store_->Alias(Id("low"), "")->name, "k8s.io/1/low") << "it serves as the alias";
  EXPECT_TRUE(store_->FindByRef(Id("low").ToString(), "", "moby/").ok());
}

TEST_F(SnapshotStoreTest, HalfMadeLayersAreSwept) {
  const auto begun = store_->BeginLayer();
  const auto abandoned = store_->BeginLayer();
  store_->AbandonLayer(*abandoned);
  EXPECT_FALSE(std::filesystem::exists(store_->FsPath(*abandoned)));
  EXPECT_THAT(Problems(), IsEmpty());
  Layer("one");
  LayerInfo twin = *store_->FindLayer(Id("one"));
  twin.directory = *store_->BeginLayer();
  EXPECT_EQ(store_->CommitLayer(twin).code(), StatusCode::kAlreadyExists);
  EXPECT_FALSE(std::filesystem::exists(store_->FsPath(twin.directory)));
  twin.chain = Id("two");
  EXPECT_EQ(store_->CommitLayer(twin).code(), StatusCode::kInvalidArgument) << "it is gone";
  Reopen();
  ASSERT_TRUE(store_->Cleanup({}).ok());
  EXPECT_FALSE(std::filesystem::exists(store_->FsPath(*begun)));
  EXPECT_EQ(Directories(), 1u);
  EXPECT_GT(*store_->BeginLayer(), twin.directory) << "numbers do not come back";
}

TEST_F(SnapshotStoreTest, OpenSweepsWhatDoesNotAgree) {
  Layer("good");
  const auto lost_layer = Layer("lost");
  const auto alias = store_->Alias(Id("lost"), "");
  const auto lost = Committed("lost snapshot");
  Committed("good snapshot");
  std::filesystem::remove_all(store_->FsPath(lost.directory).parent_path());
  std::filesystem::remove_all(store_->FsPath(lost_layer.directory).parent_path());
  std::filesystem::create_directories(store_->FsPath(4711));
  std::ofstream(scratch_.path() / "snapshots/stray") << "x";
  for (const auto family : {kv::Family::kSnapshots, kv::Family::kLayers}) {
    ASSERT_TRUE(kv_->Put(family, Id("bad").ToString(), "\xff\xff", kv::Sync::kNo).ok());
  }
  EXPECT_EQ(Problems().size(), 6u);
  Reopen();
  EXPECT_EQ(Names(), (std::vector<std::string>{"good snapshot", alias->name}));
  EXPECT_TRUE(HasLayer("good"));
  EXPECT_FALSE(HasLayer("lost"));
  ASSERT_TRUE(store_->Cleanup({}).ok());
  EXPECT_EQ(Directories(), 2u);
  EXPECT_EQ(Problems().size(), 1u) << "the alias waits for its layer";
  EXPECT_EQ(CreateCode("c", alias->name), StatusCode::kFailedPrecondition);
  Layer("lost");
  EXPECT_EQ(CreateCode("c", alias->name), StatusCode::kOk);
  EXPECT_TRUE(store_->Lowers("c").ok());
  EXPECT_THAT(Problems(), IsEmpty());
  EXPECT_GT(store_->Stat("c")->directory, 4711u);
}

TEST_F(SnapshotStoreTest, ADiskThatErrsTakesNoRecord) {
  const auto directory = store_->FsPath(Committed("a").directory).parent_path();
  const std::filesystem::path aside = scratch_.path() / "aside";
  std::filesystem::rename(directory, aside);
  std::filesystem::create_symlink(directory, directory);  // ELOOP stands for EIO
  store_.reset();
  const auto opened = SnapshotStore::Open(
      {.root = scratch_.path(), .kv = faulty_kv_, .clock = clock_, .disk = disk_});
  EXPECT_FALSE(opened.ok());
  std::filesystem::remove(directory);
  std::filesystem::rename(aside, directory);
  Reopen();
  EXPECT_TRUE(store_->Stat("a").ok());
}

TEST_F(SnapshotStoreTest, AnewContainerdFindsNoOldNames) {
  Layer("low");
  const auto alias = store_->Alias(Id("low"), "");
  ASSERT_EQ(CreateCode("k8s.io/1/container", alias->name), StatusCode::kOk);
  Committed("k8s.io/2/base");
  ASSERT_EQ(CreateCode("k8s.io/3/child", "k8s.io/2/base"), StatusCode::kOk);
  for (int time = 0; time < 2; ++time) {
    ASSERT_TRUE(store_->ForgetContainerd().ok());
    EXPECT_TRUE(HasLayer("low"));
    const auto names = Names();
    ASSERT_EQ(names.size(), 3u);
    for (const auto& name : names) {
      EXPECT_THAT(name, testing::MatchesRegex("stale/[0-9]+/k8s.io/.*"));
      const auto info = store_->Stat(name);
      if (name.ends_with("child")) {
        EXPECT_THAT(info->parent, testing::EndsWith("k8s.io/2/base"));
      } else {
        EXPECT_EQ(info->parent, "");
      }
    }
    EXPECT_THAT(Problems(), IsEmpty());
    Reopen();
  }
  ASSERT_EQ(CreateCode("k8s.io/1/container", store_->Alias(Id("low"), "")->name), StatusCode::kOk);
}

TEST_F(SnapshotStoreTest, ListMayRemoveAndStatMeanwhile) {
  for (int i = 0; i < 5; ++i) Committed("s" + std::to_string(i));
  ASSERT_TRUE(store_
                  ->List([&](const SnapshotInfo& info) {
                    EXPECT_EQ(store_->Stat(info.name)->directory, info.directory);
                    EXPECT_TRUE(store_->Remove(info.name).ok());
                    return true;
                  })
                  .ok());
  EXPECT_THAT(Names(), IsEmpty());
}

TEST_F(SnapshotStoreTest, FaultLoop) {
  bool done = false;
  for (int n = 1; !done; ++n) {
    ASSERT_LT(n, 200);
    const std::string id = std::to_string(n);
    fault_.FailAt(n, n % 2 == 0);
    const auto work = [&]() -> Status {
      LayerInfo layer;
      layer.chain = Id("layer" + id);
      layer.diff_id = layer.blob = Id("x");
      layer.durable = true;
      layer.directory = TRY(store_->BeginLayer());
      const Status committed = store_->CommitLayer(layer);
      if (!committed.ok()) store_->AbandonLayer(layer.directory);
      TRY_STATUS(committed);
      const auto alias = TRY(store_->Alias(layer.chain, ""));
      TRY_STATUS(store_->Create(SnapshotKind::kActive, "a" + id, alias.name, {}).status());
      TRY_STATUS(store_->Commit("c" + id, "a" + id, {}, {}).status());
      TRY_STATUS(store_->UpdateLabels("c" + id, {{"k", "v"}}, false).status());
      TRY_STATUS(store_->Create(SnapshotKind::kActive, "r" + id, "", {}).status());
      TRY_STATUS(store_->Commit("p" + id, "r" + id, {}, layer.chain).status());
      TRY_STATUS(store_->Remove("p" + id));
      TRY_STATUS(store_->Remove("c" + id));
      TRY_STATUS(store_->Remove(alias.name));
      return store_->ForgetContainerd();
    };
    const Status status = work();
    done = !fault_.hit();
    EXPECT_TRUE(!done || status.ok()) << status;
    fault_.Disarm();
    EXPECT_THAT(Problems(), IsEmpty()) << "n = " << n << ", " << status;
    Reopen();
    EXPECT_THAT(Problems(), IsEmpty()) << "n = " << n << ", " << status;
  }
  EXPECT_TRUE(store_->Cleanup({}).ok());
}

}  // namespace
}  // namespace hearth::store
