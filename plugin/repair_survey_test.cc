#include "plugin/repair_survey.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "plugin/scratch_store_for_test.h"

namespace hearth::plugin {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using testing::UnorderedElementsAre;

Digest Id(const std::string& name) { return Digest::Of(name); }

class SurveyTest : public ::testing::Test {
 protected:
  SurveyTest() {
    survey_.content_is_ours = true;
    ns_.name = "k8s.io";
    image_.name = "reg.test/app:v1";
    image_.digest = Id("index");
    Content("index", {{"containerd.io/gc.ref.content.m.0", "manifest"}});
    Content("manifest", {{"containerd.io/gc.ref.content.config", "config"},
                         {"containerd.io/gc.ref.content.l.0", "layer"}});
    Content("config", {});
    ns_.content.at(Id("config")).labels["containerd.io/gc.ref.snapshot.hearth"] =
        Id("top").ToString();
    Content("layer", {});
    Content("another image's", {});
    Snapshot("bottom", "");
    Snapshot("top", "bottom");
    Snapshot("another image's", "");
  }

  void Content(const std::string& name, const std::map<std::string, std::string>& references) {
    ContentRecord content{Id(name), 10, {}};
    for (const auto& [label, target] : references) content.labels[label] = Id(target).ToString();
    ns_.content.emplace(content.digest, content);
  }
  void Snapshot(const std::string& chain, const std::string& parent) {
    SurveyedSnapshot snapshot;
    snapshot.record.key = Id(chain).ToString();
    if (!parent.empty()) snapshot.record.parent_key = Id(parent).ToString();
    snapshot.chain = Id(chain);
    snapshot.lost = true;
    ns_.snapshots.emplace(snapshot.record.key, snapshot);
  }
  ImageLosses Losses() { return LossesOf(survey_, ns_, image_, scratch_.store(), "hearth"); }

  ScratchStore scratch_;
  RepairSurvey survey_;
  SurveyedNamespace ns_;
  ImageRecord image_;
};

TEST_F(SurveyTest, AnImageLosesWhatContainerdsReferencesLeadTo) {
  const ImageLosses losses = Losses();
  EXPECT_TRUE(losses.known);
  EXPECT_THAT(losses.blobs,
              UnorderedElementsAre(Id("index"), Id("manifest"), Id("config"), Id("layer")));
  EXPECT_EQ(losses.bytes, 40u);
  EXPECT_THAT(losses.layers, ElementsAre(Id("top"), Id("bottom")));
}

TEST_F(SurveyTest, WhatTheStoreHasIsNotLost) {
  scratch_.Keep("layer");
  scratch_.Keep("index");
  ns_.snapshots.at(Id("top").ToString()).lost = false;
  const ImageLosses losses = Losses();
  EXPECT_THAT(losses.blobs, UnorderedElementsAre(Id("manifest"), Id("config")));
  EXPECT_THAT(losses.layers, ElementsAre(Id("bottom")));
}

TEST_F(SurveyTest, BlobsInAnotherContentStoreAreNotLost) {
  survey_.content_is_ours = false;
  EXPECT_THAT(Losses().blobs, IsEmpty());
  EXPECT_THAT(Losses().layers, ElementsAre(Id("top"), Id("bottom")));
}

TEST_F(SurveyTest, ReferencesInACircleEnd) {
  ns_.content.at(Id("layer")).labels["containerd.io/gc.ref.content.x"] = Id("index").ToString();
  ns_.snapshots.at(Id("bottom").ToString()).record.parent_key = Id("top").ToString();
  EXPECT_EQ(Losses().blobs.size(), 4u);
  EXPECT_EQ(Losses().layers.size(), 2u);
}

TEST_F(SurveyTest, AnImageWithoutAManifestIsNotKnown) {
  ns_.content.clear();
  EXPECT_FALSE(Losses().known);
}

TEST(Origins, StandInTheLabelsOfABlob) {
  const ContentRecord content{
      Id("x"),
      1,
      {{"containerd.io/distribution.source.index.docker.io", "library/nginx,,lab/nginx"},
       {"containerd.io/distribution.source.127.0.0.1:5000", "app,NOT/a/path"},
       {"containerd.io/uncompressed", "sha256:0"}}};
  std::vector<std::string> found;
  for (const auto& origin : OriginsOf(content)) {
    found.push_back(origin.registry + " " + origin.repository);
  }
  EXPECT_THAT(found,
              ElementsAre("127.0.0.1:5000 app", "docker.io library/nginx", "docker.io lab/nginx"));
}

TEST(Origins, StandInTheNameOfAnImageWhereItIsAReference) {
  ImageRecord image;
  image.name = "reg.test:5000/lab/app:v1@sha256:" + std::string(64, '0');
  ASSERT_TRUE(OriginOf(image).has_value());
  EXPECT_EQ(OriginOf(image)->registry, "reg.test:5000");
  EXPECT_EQ(OriginOf(image)->repository, "lab/app");
  for (const std::string& name :
       {"sha256:" + std::string(64, 'a'), std::string("My Image"), std::string()}) {
    image.name = name;
    EXPECT_FALSE(OriginOf(image).has_value()) << name;
  }
}

TEST(Documents, AreToldFromOtherBlobsByWhatTheyReferTo) {
  ContentRecord content{Id("x"), 1, {{"containerd.io/gc.ref.snapshot.hearth", "sha256:0"}}};
  EXPECT_FALSE(IsDocument(content));
  content.labels["containerd.io/gc.ref.content.l.0"] = "sha256:0";
  EXPECT_TRUE(IsDocument(content));
}

}  // namespace
}  // namespace hearth::plugin
