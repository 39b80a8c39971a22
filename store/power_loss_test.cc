// What a power loss may take is never shown again as it lies there, and is what it was once it is
// made anew.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "store/faulty.h"
#include "store/snapshot_store.h"
#include "store/store.h"

namespace hearth::store {
namespace {

using std::chrono::hours;
using testing::ElementsAre;
using testing::IsEmpty;

class PowerLossTest : public testing::Test {
 protected:
  void SetUp() override { Start(); }
  void Start() {
    store_.reset();
    auto opened = SnapshotStore::Open(
        {.root = scratch_.path(), .kv = *kv_, .clock = clock_, .boot_id = boot_id_});
    ASSERT_TRUE(opened.ok()) << opened.status();
    store_ = std::move(*opened);
  }
  void LosePower() {
    boot_id_ = "boot " + std::to_string(++boots_);
    Start();
  }
  // As after the sync that follows a commit.
  void Sync() { ASSERT_TRUE(store_->MarkDurable(store_->NotDurable()).ok()); }

  static Digest Id(const std::string& name) { return Digest::Of(name); }
  LayerInfo Layer(const std::string& name, const std::string& below = "") {
    LayerInfo layer;
    layer.chain = Id(name);
    if (!below.empty()) layer.parent_chain = Id(below);
    layer.diff_id = layer.blob = Id("blob " + name);
    layer.directory = store_->BeginLayer().value();
    layer.boot_id = boot_id_;
    std::ofstream(store_->FsPath(layer.directory) / "file") << name;
    EXPECT_TRUE(store_->CommitLayer(layer).ok());
    return layer;
  }
  bool HasLayer(const std::string& name) { return store_->FindLayer(Id(name)).ok(); }
  std::vector<Digest> Lost() {
    std::vector<Digest> chains;
    for (const auto& layer : store_->LostLayers()) chains.push_back(layer.chain);
    return chains;
  }
  Status Create(const std::string& key, const std::string& parent) {
    return store_->Create(SnapshotKind::kActive, key, parent, {}).status();
  }
  // What containerd unpacked by itself.
  void CommitOwn(const std::string& name, const std::string& parent = "") {
    ASSERT_TRUE(Create("k8s.io/1/extract", parent).ok());
    const Status committed = store_->Commit(name, "k8s.io/1/extract", {}, {}).status();
    ASSERT_TRUE(committed.ok()) << committed;
  }
  // As its clients name the active snapshot in which they change the owners.
  void CommitRemapped(const std::string& name) {
    const std::string key = "k8s.io/1" + name.substr(name.rfind('/')) + "-remap";
    ASSERT_TRUE(Create(key, "").ok());
    const Status committed = store_->Commit(name, key, {}, {}).status();
    ASSERT_TRUE(committed.ok()) << committed;
  }

  Scratch scratch_;
  FakeClock clock_;
  std::unique_ptr<kv::Kv> kv_ = kv::MakeMemoryKv();
  std::string boot_id_ = "boot 0";
  int boots_ = 0;
  std::unique_ptr<SnapshotStore> store_;
};

TEST_F(PowerLossTest, OnlyDurableLayersCount) {
  Layer("synced");
  ASSERT_TRUE(store_->Alias(Id("synced"), "").ok());
  Sync();
  Layer("loose");
  ASSERT_TRUE(store_->Alias(Id("loose"), "").ok());
  Layer("nobody's");
  Start();
  EXPECT_TRUE(HasLayer("loose")) << "the same boot: a killed node loses nothing";
  LosePower();
  EXPECT_TRUE(HasLayer("synced"));
  EXPECT_FALSE(HasLayer("loose"));
  EXPECT_THAT(Lost(), ElementsAre(Id("loose"))) << "nobody wants the third";
  EXPECT_EQ(store_->LostLayers()[0].blob, Id("blob loose"));
  size_t listed = 0;
  ASSERT_TRUE(store_->ListLayers([&](const LayerInfo&) { return ++listed > 0; }).ok());
  EXPECT_EQ(listed, 1u);
}

TEST_F(PowerLossTest, WithoutABootIdNothingLooseIsTrusted) {
  boot_id_ = "";
  Start();
  Layer("loose");
  ASSERT_TRUE(store_->Alias(Id("loose"), "").ok());
  CommitOwn("k8s.io/2/" + Id("own").ToString());
  Start();
  EXPECT_FALSE(HasLayer("loose"));
  EXPECT_EQ(Lost().size(), 2u);
}

TEST_F(PowerLossTest, ALayerIsWhatItWasOnceItIsBack) {
  Layer("low");
  const auto alias = store_->Alias(Id("low"), "");
  const WallTime pin = clock_.WallNow() + hours(5);
  ASSERT_TRUE(store_->PreheatLayer(Id("low"), pin).ok());
  LosePower();
  LosePower();
  ASSERT_THAT(Lost(), ElementsAre(Id("low")));
  EXPECT_EQ(store_->CheckFiles(alias->name).code(), StatusCode::kFailedPrecondition);
  EXPECT_EQ(Create("k8s.io/9/box", alias->name).code(), StatusCode::kFailedPrecondition);
  EXPECT_FALSE(store_->FindByRef(Id("low").ToString(), "", "k8s.io/").ok());
  Layer("low");
  EXPECT_THAT(Lost(), IsEmpty());
  EXPECT_TRUE(store_->FindLayer(Id("low"))->preheated);
  EXPECT_EQ(store_->FindLayer(Id("low"))->pinned_until, pin);
  EXPECT_TRUE(store_->CheckFiles(alias->name).ok());
  EXPECT_TRUE(Create("k8s.io/9/box", alias->name).ok());
  Sync();
  LosePower();
  EXPECT_THAT(Lost(), IsEmpty());
}

TEST_F(PowerLossTest, AContainerNeedsAllLayersBelow) {
  Layer("low");
  const auto low = store_->Alias(Id("low"), "");
  Layer("top", "low");
  const auto top = store_->Alias(Id("top"), low->name);
  LosePower();
  Layer("low");
  EXPECT_EQ(Create("k8s.io/9/box", top->name).code(), StatusCode::kFailedPrecondition);
  EXPECT_EQ(store_->Stat("k8s.io/9/box").status().code(), StatusCode::kNotFound);
  Layer("top", "low");
  // Again the lower one alone: it is younger than what lies on it.
  ASSERT_TRUE(store_->MarkDurable({store_->FindLayer(Id("top"))->directory}).ok());
  LosePower();
  EXPECT_THAT(Lost(), ElementsAre(Id("low")));
  EXPECT_EQ(store_->CheckFiles(top->name).code(), StatusCode::kFailedPrecondition);
  EXPECT_EQ(Create("k8s.io/9/box", top->name).code(), StatusCode::kFailedPrecondition);
  Layer("low");
  EXPECT_TRUE(Create("k8s.io/9/box", top->name).ok());
}

TEST_F(PowerLossTest, WhatContainerdUnpackedIsNotMountedTorn) {
  const std::string synced = "k8s.io/2/" + Id("synced").ToString();
  const std::string torn = "k8s.io/3/" + Id("torn").ToString();
  CommitOwn(synced);
  Sync();
  CommitOwn(torn);
  const uint64_t directory = store_->Stat(torn)->directory;
  CommitOwn("k8s.io/4/built by hand");
  Start();
  EXPECT_TRUE(store_->CheckFiles(torn).ok()) << "the same boot";
  LosePower();
  EXPECT_TRUE(Create("k8s.io/5/box", synced).ok());
  EXPECT_TRUE(Create("k8s.io/6/box", "k8s.io/4/built by hand").ok()) << "nothing can replace it";
  EXPECT_EQ(Create("k8s.io/7/box", torn).code(), StatusCode::kFailedPrecondition);
  EXPECT_THAT(Lost(), ElementsAre(Id("torn")));
  ASSERT_TRUE(store_->Cleanup({}).ok());
  EXPECT_FALSE(std::filesystem::exists(store_->FsPath(directory)));
  Layer("torn");
  ASSERT_TRUE(Create("k8s.io/7/box", torn).ok());
  EXPECT_THAT(*store_->Lowers("k8s.io/7/box"),
              ElementsAre(store_->FsPath(store_->FindLayer(Id("torn"))->directory)));
}

// containerd has the name for ever: it must not go with the directory.
TEST_F(PowerLossTest, WhatContainerdUnpackedKeepsItsNameWithoutItsDirectory) {
  const std::string own = "k8s.io/2/" + Id("own").ToString();
  CommitOwn(own);
  ASSERT_TRUE(Create("k8s.io/3/box", own).ok());
  Sync();
  ASSERT_TRUE(RemoveTree(store_->FsPath(store_->Stat(own)->directory).parent_path()).ok());
  ASSERT_TRUE(
      RemoveTree(store_->FsPath(store_->Stat("k8s.io/3/box")->directory).parent_path()).ok());
  Start();
  EXPECT_THAT(Lost(), ElementsAre(Id("own")));
  EXPECT_EQ(Create("k8s.io/4/box", own).code(), StatusCode::kFailedPrecondition);
  EXPECT_EQ(store_->Stat("k8s.io/3/box").status().code(), StatusCode::kNotFound)
      << "nothing says what was in it";
  Layer("own");
  EXPECT_TRUE(Create("k8s.io/4/box", own).ok());
}

// containerd 1.x names it CHAIN-uid-gid, 2.x by a digest that looks like a chain ID.
TEST_F(PowerLossTest, ATornCopyForAUserNamespaceIsNotMounted) {
  Layer("base");
  ASSERT_TRUE(store_->Alias(Id("base"), "").ok());
  const std::string synced = "k8s.io/3/" + Id("base").ToString() + "-1000-65536";
  CommitRemapped(synced);
  CommitOwn("k8s.io/4/made-by-hand-1-2");
  Sync();
  const std::string torn[] = {"k8s.io/5/" + Id("base").ToString() + "-0-1",
                              "k8s.io/5/" + Id("of base and a mapping").ToString()};
  for (const std::string& name : torn) CommitRemapped(name);
  LosePower();
  EXPECT_THAT(Lost(), IsEmpty()) << "no image makes a copy";
  EXPECT_TRUE(Create("a", synced).ok());
  EXPECT_TRUE(Create("b", "k8s.io/4/made-by-hand-1-2").ok());
  for (int start = 0; start < 2; ++start) {
    for (const std::string& name : torn) {
      const Status refused = Create("c", name);
      EXPECT_EQ(refused.code(), StatusCode::kFailedPrecondition) << name;
      EXPECT_THAT(refused.message(), testing::HasSubstr("ctr snapshots rm"));
    }
    Start();
  }
  for (const std::string& name : torn) {
    EXPECT_TRUE(store_->Remove(name).ok());
    CommitRemapped(name);
    EXPECT_TRUE(Create("on " + name, name).ok()) << "made anew";
  }
}

// kubelet's figures of an image must not be zero for good because it asked too early.
TEST_F(PowerLossTest, SizeAskedForMeanwhileIsNotKept) {
  LayerInfo layer = Layer("loose");
  const auto name = store_->Alias(Id("loose"), "");
  ASSERT_TRUE(name.ok());
  LosePower();
  (void)store_->Usage(name->name);
  LayerInfo again = Layer("loose");
  const auto usage = store_->Usage(name->name);
  ASSERT_TRUE(usage.ok()) << usage.status();
  EXPECT_EQ(usage->size_bytes, again.disk_bytes);
  CommitOwn("k8s.io/9/" + Id("own").ToString());
  LosePower();
  EXPECT_EQ(store_->Usage("k8s.io/9/" + Id("own").ToString()).status().code(),
            StatusCode::kUnavailable);
}

TEST_F(PowerLossTest, ALostLayerIsForgottenWithWhoWantsIt) {
  for (const std::string name : {"aliased", "preheated", "renamed"}) Layer(name);
  const auto alias = store_->Alias(Id("aliased"), "");
  ASSERT_TRUE(store_->Alias(Id("renamed"), "").ok());
  ASSERT_TRUE(store_->PreheatLayer(Id("preheated"), {}).ok());
  LosePower();
  EXPECT_EQ(Lost().size(), 3u);
  ASSERT_TRUE(store_->Remove(alias->name).ok());
  EXPECT_EQ(Lost().size(), 2u);
  EXPECT_TRUE(*store_->DropPreheatOfLayer(Id("preheated")));
  EXPECT_THAT(Lost(), ElementsAre(Id("renamed")));
  ASSERT_TRUE(store_->ForgetContainerd().ok());
  EXPECT_THAT(Lost(), IsEmpty());
  Start();
  EXPECT_THAT(Lost(), IsEmpty());
}

TEST_F(PowerLossTest, ASyncOfALayerThatWentMeanwhileIsNotThatOfTheNext) {
  Layer("one");
  const auto before_sync = store_->NotDurable();
  ASSERT_TRUE(store_->RemoveLayer(Id("one")).ok());
  Layer("one");
  ASSERT_TRUE(store_->MarkDurable(before_sync).ok());
  EXPECT_FALSE(store_->FindLayer(Id("one"))->durable);
  EXPECT_EQ(store_->NotDurable().size(), 1u);
  Sync();
  EXPECT_TRUE(store_->FindLayer(Id("one"))->durable);
  EXPECT_THAT(store_->NotDurable(), IsEmpty());
}

TEST(StoreMendingTest, IsNeededFromAPowerLossUntilItIsDone) {
  Scratch scratch;
  ThreadPool pool({.name = "cpu"});
  const auto needs = [&](const std::string& boot, bool mended = false) {
    const auto store = Store::Open({.root = scratch.path(), .cpu_pool = pool, .boot_id = boot});
    EXPECT_TRUE(store.ok()) << store.status();
    const bool needed = (*store)->NeedsMending();
    if (mended) {
      EXPECT_TRUE((*store)->Mended().ok());
    }
    return needed;
  };
  EXPECT_FALSE(needs("a"));
  EXPECT_FALSE(needs("b")) << "it was closed in order";
  {
    const auto kv = kv::OpenRocksKv({.directory = scratch.path() / "index"}).value();
    ASSERT_TRUE(kv->Put(kv::Family::kMeta, "boot", "b", kv::Sync::kYes).ok());
  }
  EXPECT_FALSE(needs("b")) << "killed, but the machine ran on";
  {
    const auto kv = kv::OpenRocksKv({.directory = scratch.path() / "index"}).value();
    ASSERT_TRUE(kv->Put(kv::Family::kMeta, "boot", "b", kv::Sync::kYes).ok());
  }
  EXPECT_TRUE(needs("c"));
  EXPECT_TRUE(needs("c")) << "a restart does not forget";
  EXPECT_TRUE(needs("d", /*mended=*/true));
  EXPECT_FALSE(needs("d"));
}

}  // namespace
}  // namespace hearth::store
