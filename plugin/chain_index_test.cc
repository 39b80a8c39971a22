#include "plugin/chain_index.h"

#include <gtest/gtest.h>

#include "oci/media_type.h"
#include "plugin/image_for_test.h"
#include "plugin/scratch_store_for_test.h"

namespace hearth::plugin {
namespace {

class ChainIndexTest : public ::testing::Test {
 protected:
  ChainIndex MakeIndex(size_t max_images = 1024) {
    return ChainIndex({.blobs = scratch_.store().blobs(),
                       .kv = scratch_.store().kv(),
                       .clock = clock_,
                       .max_images = max_images});
  }
  static SeenManifest Seen(const ImageForTest& image, const std::string& authorization = "") {
    return {.registry = "reg.test:5000",
            .repository = "lab/app",
            .authorization = Secret<std::string>(authorization),
            .digest = image.manifest_digest(),
            .media_type = std::string(oci::kOciManifest),
            .body = image.manifest};
  }

  FakeClock clock_;
  ScratchStore scratch_;
};

TEST_F(ChainIndexTest, JoinsManifestAndConfigInEitherOrder) {
  const ImageForTest image({"one", "two"});
  {
    auto index = MakeIndex();
    index.OnManifest(Seen(image));
    EXPECT_TRUE(index.Find(image.chain(1), "").empty()) << "the config is not here yet";
    scratch_.Keep(image.config);
    const auto found = index.Find(image.chain(1), "");
    ASSERT_EQ(found.size(), 1u);
    EXPECT_EQ(found[0].index, 1u);
    EXPECT_EQ(found[0].image->layers[1].blob.digest, image.layer_digest(1));
    EXPECT_EQ(found[0].image->ParentChain(1), image.chain(0));
  }
  auto index = MakeIndex();
  index.OnManifest(Seen(image));
  EXPECT_EQ(index.Find(image.chain(0), "").size(), 1u);
}

// Before anything of it is fetched or unpacked.
TEST_F(ChainIndexTest, AnImageWithMoreLayersThanOverlayMountsIsRefused) {
  const auto join = [](size_t layers) {
    const Digest digest = Digest::Of("layer");
    std::string diff_ids;
    oci::Manifest manifest;
    for (size_t i = 0; i < layers; ++i) {
      diff_ids += (i == 0 ? "\"" : ",\"") + digest.ToString() + "\"";
      manifest.layers.emplace_back().digest = digest;
    }
    const std::string config = R"({"os":"linux","architecture":"amd64","rootfs":{"diff_ids":[)";
    return JoinLayers(Digest::Of("manifest"), manifest, config + diff_ids + "]}}").status();
  };
  EXPECT_TRUE(join(128).ok()) << join(128);
  EXPECT_EQ(join(129).code(), StatusCode::kFailedPrecondition);
  EXPECT_NE(join(129).message().find("129 layers; overlay mounts take at most 128"),
            std::string::npos)
      << join(129);
}

TEST_F(ChainIndexTest, LearnsFromWhatContainerdCommits) {
  const ImageForTest image({"one"});
  auto index = MakeIndex();
  scratch_.Keep(image.manifest);
  scratch_.Keep(image.config);
  index.OnCommitted("k8s.io/1/layer-" + image.manifest_digest().ToString(), image.manifest_digest(),
                    image.manifest.size());
  EXPECT_TRUE(index.Find(image.chain(0), "").empty()) << "the ref says that it is a layer";
  index.OnCommitted("k8s.io/1/manifest-" + image.manifest_digest().ToString(),
                    image.manifest_digest(), image.manifest.size());
  const auto found = index.Find(image.chain(0), "reg.test/lab/app:v1");
  ASSERT_EQ(found.size(), 1u);
  ASSERT_EQ(found[0].origins.size(), 1u) << "the image's name is an origin";
  EXPECT_EQ(found[0].origins[0].registry, "reg.test");
  EXPECT_EQ(found[0].origins[0].repository, "lab/app");
}

TEST_F(ChainIndexTest, CallersCredentialEndsWithItsTime) {
  const ImageForTest image({"one"});
  auto index = MakeIndex();
  scratch_.Keep(image.config);
  index.OnManifest(Seen(image, "Bearer secret"));
  auto found = index.Find(image.chain(0), "");
  ASSERT_EQ(found[0].origins.size(), 1u);
  EXPECT_EQ(found[0].origins[0].authorization.Reveal(), "Bearer secret");
  clock_.Advance(std::chrono::minutes(11));
  found = index.Find(image.chain(0), "");
  ASSERT_EQ(found.size(), 1u);
  EXPECT_TRUE(found[0].origins.empty());
}

TEST_F(ChainIndexTest, PreheatedImageIsKnownAfterARestart) {
  const ImageForTest image({"one", "two"});
  scratch_.Keep(image.manifest);
  scratch_.Keep(image.config);
  const auto layers = JoinLayers(image.manifest_digest(), image.parsed(), image.config);
  ASSERT_TRUE(layers.ok());
  ASSERT_TRUE(MakeIndex().Remember(*layers, {"reg.test", "lab/app", {}}).ok());
  auto restarted = MakeIndex();
  const auto found = restarted.Find(image.chain(1), "");
  ASSERT_EQ(found.size(), 1u);
  ASSERT_EQ(found[0].origins.size(), 1u);
  EXPECT_EQ(found[0].origins[0].repository, "lab/app");
}

TEST_F(ChainIndexTest, ASweepDropsTheRecordsOfImagesThatAreGone) {
  const ImageForTest kept({"one", "two"});
  const ImageForTest gone({"three"});
  const auto records = [this] {
    size_t count = 0;
    for (const auto family : {kv::Family::kChains, kv::Family::kSources}) {
      EXPECT_TRUE(scratch_.store()
                      .kv()
                      .Scan(family, "", [&](std::string_view, std::string_view) { return ++count; })
                      .ok());
    }
    return count;
  };
  for (const auto* image : {&kept, &gone}) {
    scratch_.Keep(image->manifest);
    scratch_.Keep(image->config);
    const auto layers = JoinLayers(image->manifest_digest(), image->parsed(), image->config);
    ASSERT_TRUE(MakeIndex().Remember(*layers, {"reg.test", "lab/app", {}}).ok());
  }
  ASSERT_EQ(records(), 5u);
  auto index = MakeIndex();
  ASSERT_TRUE(scratch_.store().blobs().Remove(gone.manifest_digest()).ok());
  for (int i = 0; i < 256; ++i) ASSERT_TRUE(index.Sweep().ok());
  EXPECT_EQ(records(), 3u);
  EXPECT_EQ(index.Find(kept.chain(1), "").size(), 1u);
}

TEST_F(ChainIndexTest, ASweepSparesAnImageThatIsBeingPulled) {
  const ImageForTest image({"one"});
  scratch_.Keep(image.config);
  auto index = MakeIndex();
  index.OnManifest(Seen(image));  // its manifest is not in the store yet
  ASSERT_EQ(index.Find(image.chain(0), "").size(), 1u);
  for (int i = 0; i < 256; ++i) ASSERT_TRUE(index.Sweep().ok());
  scratch_.Keep(image.manifest);
  EXPECT_EQ(MakeIndex().Find(image.chain(0), "").size(), 1u);
}

// Two images share a layer: the record of the one that is gone does not hide the other.
TEST_F(ChainIndexTest, AChainOfAGoneImageIsTakenOverByOneThatIsHere) {
  const ImageForTest gone({"one", "two"});
  const ImageForTest here({"one", "three"});
  scratch_.Keep(gone.config);
  {
    auto index = MakeIndex();
    index.OnManifest(Seen(gone));
    ASSERT_EQ(index.Find(gone.chain(0), "").size(), 1u);
  }
  scratch_.Keep(here.manifest);
  scratch_.Keep(here.config);
  {
    auto index = MakeIndex();
    index.OnManifest(Seen(here));
    ASSERT_EQ(index.Find(here.chain(1), "").size(), 1u);
  }
  EXPECT_EQ(MakeIndex().Find(here.chain(0), "").size(), 1u);
}

TEST_F(ChainIndexTest, RecordsAreBoundedWhateverTheStoreHolds) {
  const ImageForTest image({"one"});
  scratch_.Keep(image.manifest);
  kv::Batch batch;
  const std::string manifest(reinterpret_cast<const char*>(image.manifest_digest().bytes().data()),
                             Digest::kBytes);
  const size_t share = kMaxChainRecords / 256;
  for (size_t i = 0; i < share + 10; ++i) {
    std::string chain(Digest::kBytes, '\0');  // all of the first share
    chain[1] = static_cast<char>(i >> 8);
    chain[2] = static_cast<char>(i);
    batch.Put(kv::Family::kChains, chain, manifest);
  }
  auto& kv = scratch_.store().kv();
  ASSERT_TRUE(kv.Write(batch, kv::Sync::kNo).ok());
  auto index = MakeIndex();
  ASSERT_TRUE(index.Sweep().ok());
  size_t left = 0;
  ASSERT_TRUE(kv.Scan(kv::Family::kChains, "", [&](std::string_view, std::string_view) {
                  return ++left;
                }).ok());
  EXPECT_EQ(left, share);
}

TEST_F(ChainIndexTest, PreheatedImageKeepsItsOriginWhileTheNodeRuns) {
  const ImageForTest image({"one"});
  scratch_.Keep(image.manifest);
  scratch_.Keep(image.config);
  const auto layers = JoinLayers(image.manifest_digest(), image.parsed(), image.config);
  ASSERT_TRUE(layers.ok());
  auto index = MakeIndex();
  ASSERT_TRUE(index.Remember(*layers, {"reg.test", "lab/app", {}}).ok());
  clock_.Advance(std::chrono::hours(1));
  const auto found = index.Find(image.chain(0), "");
  ASSERT_EQ(found.size(), 1u);
  EXPECT_EQ(found[0].origins.size(), 1u);
}

TEST_F(ChainIndexTest, ImagesNameIsAnOriginWhereACallersAccessHasEnded) {
  const ImageForTest image({"one"});
  auto index = MakeIndex();
  scratch_.Keep(image.config);
  index.OnManifest(Seen(image, "Bearer secret"));
  clock_.Advance(std::chrono::minutes(11));
  const auto found = index.Find(image.chain(0), "reg.test:5000/lab/app:v1");
  ASSERT_EQ(found.size(), 1u);
  ASSERT_EQ(found[0].origins.size(), 1u);
  EXPECT_EQ(found[0].origins[0].authorization.Reveal(), "");
}

TEST_F(ChainIndexTest, RejectedCandidateIsNotOfferedForAWhile) {
  const ImageForTest image({"one"});
  auto index = MakeIndex();
  scratch_.Keep(image.config);
  index.OnManifest(Seen(image));
  ASSERT_EQ(index.Find(image.chain(0), "").size(), 1u);
  index.Reject(image.chain(0), image.manifest_digest());
  EXPECT_TRUE(index.Find(image.chain(0), "").empty());
  clock_.Advance(kRejectFor);
  EXPECT_EQ(index.Find(image.chain(0), "").size(), 1u);
}

TEST_F(ChainIndexTest, ForgetsTheLeastRecentImageBeyondItsLimit) {
  const ImageForTest first({"one"});
  const ImageForTest second({"two"});
  auto index = MakeIndex(1);
  scratch_.Keep(first.config);
  scratch_.Keep(second.config);
  index.OnManifest(Seen(first));
  ASSERT_EQ(index.Find(first.chain(0), "").size(), 1u);
  index.OnManifest(Seen(second));
  EXPECT_TRUE(index.Find(first.chain(0), "").empty());
  EXPECT_EQ(index.Find(second.chain(0), "").size(), 1u);
}

TEST_F(ChainIndexTest, ConfigWithAnotherNumberOfLayersIsRefused) {
  const ImageForTest image({"one", "two"});
  const ImageForTest other({"one"});
  EXPECT_EQ(JoinLayers(image.manifest_digest(), image.parsed(), other.config).status().code(),
            StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace hearth::plugin
