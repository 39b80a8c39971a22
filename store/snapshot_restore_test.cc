#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>

#include "store/faulty.h"
#include "store/snapshot_store.h"

namespace hearth::store {
namespace {

using std::chrono::hours;
using testing::ElementsAre;
using testing::IsEmpty;

class RestoreTest : public testing::Test {
 protected:
  void SetUp() override { Reopen(); }
  void Reopen() {
    store_.reset();
    auto opened = SnapshotStore::Open({.root = scratch_.path(), .kv = *kv_, .clock = clock_});
    ASSERT_TRUE(opened.ok()) << opened.status();
    store_ = std::move(*opened);
  }
  static Digest Id(const std::string& name) { return Digest::Of(name); }
  // A verified layer `name` on layer `below`.
  void Layer(const std::string& name, const std::string& below = "") {
    LayerInfo layer;
    layer.chain = Id(name);
    if (!below.empty()) layer.parent_chain = Id(below);
    layer.diff_id = Id("diff " + name);
    layer.blob = Id("blob " + name);
    layer.directory = store_->BeginLayer().value();
    layer.durable = true;
    EXPECT_TRUE(store_->CommitLayer(layer).ok());
  }
  std::vector<std::string> Problems() {
    std::vector<std::string> problems;
    EXPECT_TRUE(store_->Verify([&](const std::string& p) { problems.push_back(p); }).ok());
    return problems;
  }
  Status Restore(SnapshotKind kind, const std::string& name, const std::string& parent = "",
                 const std::string& layer = "") {
    SnapshotInfo info;
    info.name = name;
    info.parent = parent;
    info.kind = kind;
    info.created = info.updated = clock_.WallNow() - hours(9);
    info.labels = {{"containerd.io/snapshot/x", "y"}};
    if (!layer.empty()) info.chain = Id(layer);
    return store_->Restore(info);
  }
  std::string AliasName(uint64_t number, const std::string& layer) {
    return "hearth/" + std::to_string(number) + "/" + Id(layer).ToString();
  }

  Scratch scratch_;
  const std::unique_ptr<kv::Kv> kv_ = kv::MakeMemoryKv();
  FakeClock clock_;
  std::unique_ptr<SnapshotStore> store_;
};

TEST_F(RestoreTest, NamesComeBackAsAliasesWithLabelsAndTimes) {
  Layer("a");
  Layer("b", "a");
  ASSERT_TRUE(Restore(SnapshotKind::kCommitted, AliasName(900, "a"), "", "a").ok());
  ASSERT_TRUE(Restore(SnapshotKind::kCommitted, "k8s.io/7/b", AliasName(900, "a"), "b").ok());
  ASSERT_TRUE(Restore(SnapshotKind::kActive, "k8s.io/8/box", "k8s.io/7/b").ok());
  Reopen();
  const SnapshotInfo b = store_->Stat("k8s.io/7/b").value();
  EXPECT_EQ(b.parent, AliasName(900, "a"));
  EXPECT_EQ(b.kind, SnapshotKind::kCommitted);
  EXPECT_EQ(b.created, clock_.WallNow() - hours(9));
  EXPECT_EQ(b.labels.at("containerd.io/snapshot/x"), "y");
  EXPECT_EQ(b.labels.at(kSnapshotRefLabel), Id("b").ToString());
  EXPECT_EQ(store_->FindByRef(Id("b").ToString(), AliasName(900, "a"), "k8s.io/")->name, b.name);
  const auto lowers = store_->Lowers("k8s.io/8/box").value();
  EXPECT_THAT(lowers, ElementsAre(store_->FsPath(store_->FindLayer(Id("b"))->directory),
                                  store_->FsPath(store_->FindLayer(Id("a"))->directory)));
  EXPECT_THAT(Problems(), IsEmpty());
}

TEST_F(RestoreTest, ANumberThatContainerdKnowsIsNotGivenOutAgain) {
  Layer("a");
  Layer("b", "a");
  ASSERT_TRUE(Restore(SnapshotKind::kCommitted, AliasName(900, "a"), "", "a").ok());
  EXPECT_EQ(store_->Alias(Id("b"), AliasName(900, "a"))->name, AliasName(901, "b"));
  Reopen();
  EXPECT_GT(store_->Create(SnapshotKind::kActive, "own", "", {})->directory, 901u);
}

TEST_F(RestoreTest, WhatDoesNotFitIsRefused) {
  Layer("a");
  Layer("b", "a");
  EXPECT_EQ(Restore(SnapshotKind::kCommitted, "n/1/a").code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(Restore(SnapshotKind::kCommitted, "n/1/x", "", "x").code(), StatusCode::kNotFound);
  EXPECT_EQ(Restore(SnapshotKind::kCommitted, "n/1/b", "", "b").code(),
            StatusCode::kFailedPrecondition);
  EXPECT_EQ(Restore(SnapshotKind::kActive, "n/2/box", "nobody").code(), StatusCode::kNotFound);
  ASSERT_TRUE(Restore(SnapshotKind::kCommitted, "n/1/a", "", "a").ok());
  EXPECT_EQ(Restore(SnapshotKind::kCommitted, "n/1/a", "", "a").code(), StatusCode::kAlreadyExists);
  EXPECT_THAT(Problems(), IsEmpty());
}

}  // namespace
}  // namespace hearth::store
