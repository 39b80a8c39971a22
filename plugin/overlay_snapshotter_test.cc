#include "plugin/overlay_snapshotter.h"

#include <gtest/gtest.h>

#include <fstream>
#include <future>

#include "net/http_client.h"
#include "plugin/image_for_test.h"
#include "plugin/scratch_store_for_test.h"

namespace hearth::plugin {
namespace {

using Mounted = Result<std::vector<Mount>>;

// The snapshotter with everything below it, over blobs that the test puts into the store.
class OverlaySnapshotterTest : public ::testing::Test {
 protected:
  explicit OverlaySnapshotterTest(std::chrono::milliseconds prepare_wait = std::chrono::minutes(1))
      : snapshotter_({.store = scratch_.store(),
                      .workers = workers_,
                      .unpackers = workers_,
                      .timers = timers_,
                      .chains = &chains_,
                      .builder = &builder_,
                      .pulls = &pulls_,
                      .prepare_wait = prepare_wait}) {}
  ~OverlaySnapshotterTest() override {
    swarm_.Stop();
    builder_.Stop();
  }

  // Makes the image known, with an origin that is never reached: its blobs are put in by hand.
  void Know(const ImageForTest& image) {
    scratch_.Keep(image.manifest);
    scratch_.Keep(image.config);
    chains_.OnManifest({.registry = "127.0.0.1:9",
                        .repository = "lab/app",
                        .authorization = {},
                        .digest = image.manifest_digest(),
                        .media_type = "",
                        .body = image.manifest});
  }
  PrepareRequest Request(const std::string& key, const std::string& parent,
                         std::optional<Digest> chain) {
    PrepareRequest request{.key = "k8s.io/" + key, .parent = parent, .labels = {}};
    if (chain) request.labels[store::kSnapshotRefLabel] = chain->ToString();
    return request;
  }
  std::future<Mounted> Prepare(const PrepareRequest& request, std::stop_token stop = {}) {
    auto promise = std::make_shared<std::promise<Mounted>>();
    snapshotter_.Prepare(request, stop,
                         [promise](Mounted mounts) { promise->set_value(std::move(mounts)); });
    return promise->get_future();
  }
  std::future<Result<Applied>> Apply(const ImageForTest& image, const std::vector<Mount>& mounts,
                                     size_t layer = 0) {
    auto promise = std::make_shared<std::promise<Result<Applied>>>();
    snapshotter_.Apply(
        {.media_type = std::string(oci::kOciLayer),
         .digest = image.layer_digest(layer).ToString(),
         .size_bytes = 0,
         .mounts = mounts},
        {}, [promise](Result<Applied> applied) { promise->set_value(std::move(applied)); });
    return promise->get_future();
  }
  Mounted View(const std::string& key, const std::string& parent) {
    std::promise<Mounted> answer;
    snapshotter_.View({.key = key, .parent = parent, .labels = {}}, {},
                      [&](Mounted mounts) { answer.set_value(std::move(mounts)); });
    return answer.get_future().get();
  }
  std::string NameOf(const Digest& chain, const std::string& parent) {
    const auto found = scratch_.store().snapshots().FindByRef(chain.ToString(), parent, "k8s.io/");
    EXPECT_TRUE(found.ok()) << found.status();
    return found.ok() ? found->name : "";
  }
  static std::string Slurp(const std::filesystem::path& path) {
    return ReadFile(path, 1 << 20).value();
  }

  ScratchStore scratch_;
  TimerQueue timers_;
  ThreadPool workers_{{.name = "work", .threads = 2}};
  std::unique_ptr<net::HttpClient> http_ = net::HttpClient::Create({}).value();
  oci::Registry registry_{*http_, RealClock(), {}};
  p2p::Swarm swarm_{{.blobs = scratch_.store().blobs(), .registry = registry_}};
  LayerBuilder builder_{{.store = scratch_.store(), .swarm = swarm_}};
  ChainIndex chains_{{.blobs = scratch_.store().blobs(), .kv = scratch_.store().kv()}};
  NativePulls pulls_{{.builder = builder_, .chains = chains_}};
  OverlaySnapshotter snapshotter_;
};

TEST_F(OverlaySnapshotterTest, PullsWhatPrepareNamesAndAllAboveIt) {
  const ImageForTest image({"one", "two", "three"});
  Know(image);
  for (const auto& layer : image.layers) scratch_.Keep(layer);
  const auto first = Prepare(Request("1/extract", "", image.chain(0))).get();
  EXPECT_EQ(first.status().code(), StatusCode::kAlreadyExists) << first.status();
  const std::string name = NameOf(image.chain(0), "");
  EXPECT_TRUE(name.starts_with("hearth/")) << name;
  EXPECT_TRUE(name.ends_with(image.chain(0).ToString())) << name;
  const auto second = Prepare(Request("2/extract", name, image.chain(1))).get();
  EXPECT_EQ(second.status().code(), StatusCode::kAlreadyExists) << second.status();
  const auto third =
      Prepare(Request("3/extract", NameOf(image.chain(1), name), image.chain(2))).get();
  EXPECT_EQ(third.status().code(), StatusCode::kAlreadyExists) << third.status();
  const auto paths = scratch_.store().snapshots().LayerPaths(image.chain(2));
  ASSERT_TRUE(paths.ok()) << paths.status();
  ASSERT_EQ(paths->size(), 3u);
  EXPECT_EQ(Slurp((*paths)[0] / "file"), "three");
  EXPECT_EQ(Slurp((*paths)[2] / "file"), "one");
}

TEST_F(OverlaySnapshotterTest, UnknownChainGetsMountsAtOnce) {
  const auto mounts = Prepare(Request("1/extract", "", Digest::Of("nobody"))).get();
  ASSERT_TRUE(mounts.ok()) << mounts.status();
  ASSERT_EQ(mounts->size(), 1u);
  EXPECT_EQ((*mounts)[0].type, "bind");
  EXPECT_EQ((*mounts)[0].options, (std::vector<std::string>{"rw", "rbind"}));
}

TEST_F(OverlaySnapshotterTest, WrongDiffIdGetsMountsAndIsNotTriedAgain) {
  ImageForTest image({"one"});
  const ImageForTest other({"other"});
  // The config promises another content than the blob has.
  image.config = other.config;
  nlohmann::json manifest = nlohmann::json::parse(image.manifest);
  manifest["config"]["digest"] = Digest::Of(image.config).ToString();
  manifest["config"]["size"] = image.config.size();
  image.manifest = manifest.dump();
  Know(image);
  scratch_.Keep(image.layers[0]);
  const auto mounts = Prepare(Request("1/extract", "", other.chain(0))).get();
  EXPECT_TRUE(mounts.ok()) << mounts.status();
  EXPECT_TRUE(chains_.Find(other.chain(0), "").empty());
  EXPECT_EQ(scratch_.store().snapshots().FindLayer(other.chain(0)).status().code(),
            StatusCode::kNotFound);
}

TEST_F(OverlaySnapshotterTest, CommitOfContainerdsOwnUnpackKeepsItsFiles) {
  const auto mounts = Prepare(Request("1/extract", "", Digest::Of("own"))).get();
  ASSERT_TRUE(mounts.ok());
  std::ofstream((*mounts)[0].source + "/made") << "by containerd";
  const store::Labels labels{{store::kSnapshotRefLabel, Digest::Of("own").ToString()}};
  ASSERT_TRUE(snapshotter_.Commit("k8s.io/2/own", "k8s.io/1/extract", labels).ok());
  const auto view = View("k8s.io/3/view", "k8s.io/2/own");
  ASSERT_TRUE(view.ok());
  EXPECT_EQ((*view)[0].options, (std::vector<std::string>{"ro", "rbind"}));
  EXPECT_EQ(Slurp((*view)[0].source + "/made"), "by containerd");
  // Another namespace must not get what we did not verify.
  EXPECT_FALSE(
      scratch_.store().snapshots().FindByRef(Digest::Of("own").ToString(), "", "other/").ok());
}

TEST_F(OverlaySnapshotterTest, CancelledCallerStopsWaitingAndTheWorkGoesOn) {
  const ImageForTest image({"one"});
  Know(image);
  auto grown = scratch_.store().blobs().Grow(image.layer_digest(0), image.layers[0].size());
  ASSERT_TRUE(grown.ok() && grown->writer);
  std::stop_source stop;
  auto waiting = Prepare(Request("1/extract", "", image.chain(0)), stop.get_token());
  stop.request_stop();
  EXPECT_EQ(waiting.get().status().code(), StatusCode::kCancelled);
  const auto build = builder_.Find(image.chain(0));
  ASSERT_NE(build, nullptr);
  ASSERT_TRUE(grown->blob->Write(0, image.layers[0]).ok());
  EXPECT_TRUE(build->Wait({}).ok()) << build->status();
  EXPECT_EQ(Prepare(Request("2/extract", "", image.chain(0))).get().status().code(),
            StatusCode::kAlreadyExists);
}

TEST_F(OverlaySnapshotterTest, OverlayMountsNameUpperWorkAndLowersTopFirst) {
  const ImageForTest image({"one", "two"});
  Know(image);
  for (const auto& layer : image.layers) scratch_.Keep(layer);
  (void)Prepare(Request("1/extract", "", image.chain(0))).get();
  const std::string bottom = NameOf(image.chain(0), "");
  (void)Prepare(Request("2/extract", bottom, image.chain(1))).get();
  const std::string top = NameOf(image.chain(1), bottom);
  const auto mounts = Prepare(Request("3/container", top, std::nullopt)).get();
  ASSERT_TRUE(mounts.ok()) << mounts.status();
  ASSERT_EQ((*mounts)[0].type, "overlay");
  const auto paths = scratch_.store().snapshots().LayerPaths(image.chain(1)).value();
  EXPECT_EQ((*mounts)[0].options.back(), "lowerdir=" + paths[0].string() + ":" + paths[1].string());
}

// As `ctr i pull` of containerd 1.7 unpacks: it names the chain in its key alone.
TEST_F(OverlaySnapshotterTest, ApplyWithoutALabelAnswersWithTheLayerThatIsHere) {
  const ImageForTest image({"one", "two"});
  Know(image);
  for (const auto& layer : image.layers) scratch_.Keep(layer);
  (void)Prepare(Request("1/extract", "", image.chain(0))).get();
  (void)Prepare(Request("2/extract", NameOf(image.chain(0), ""), image.chain(1))).get();
  std::string parent;
  for (size_t i = 0; i < 2; ++i) {
    const std::string chain = image.chain(i).ToString();
    const std::string key = std::to_string(10 + i) + "/extract-123456-aB_c " + chain;
    const auto mounts = Prepare(Request(key, parent, std::nullopt)).get();
    ASSERT_TRUE(mounts.ok()) << mounts.status();
    const auto answer = Apply(image, *mounts, i).get();
    ASSERT_TRUE(answer.ok()) << answer.status();
    EXPECT_EQ(answer->diff_id, image.layer_digest(i));
    parent = "k8s.io/" + std::to_string(20 + i) + "/" + chain;
    ASSERT_TRUE(snapshotter_.Commit(parent, "k8s.io/" + key, {}).ok());
    EXPECT_EQ(snapshotter_.Stat(parent)->chain, image.chain(i));
  }
}

TEST_F(OverlaySnapshotterTest, ApplyUnpacksWhereOurLayerIsNotTheResult) {
  const ImageForTest image({"one", "two"});
  Know(image);
  for (const auto& layer : image.layers) scratch_.Keep(layer);
  (void)Prepare(Request("1/extract", "", image.chain(0))).get();
  // A parent of another's making, a directory that was written to, another blob.
  ASSERT_TRUE(Prepare(Request("2/box", "", std::nullopt)).get().ok());
  ASSERT_TRUE(snapshotter_.Commit("k8s.io/3/own", "k8s.io/2/box", {}).ok());
  const std::string named = "/extract-1-a " + image.chain(0).ToString();
  const auto other_parent = Prepare(Request("4" + named, "k8s.io/3/own", std::nullopt)).get();
  const auto touched = Prepare(Request("5" + named, "", std::nullopt)).get();
  const auto other_blob = Prepare(Request("6" + named, "", std::nullopt)).get();
  ASSERT_TRUE(other_parent.ok() && touched.ok() && other_blob.ok());
  std::ofstream((*touched)[0].source + "/mine") << "x";
  ASSERT_TRUE(Apply(image, *other_parent).get().ok());
  ASSERT_TRUE(Apply(image, *touched).get().ok());
  ASSERT_TRUE(Apply(image, *other_blob, 1).get().ok());
  EXPECT_EQ(Slurp((*touched)[0].source + "/file"), "one");
  EXPECT_EQ(Slurp((*other_blob)[0].source + "/file"), "two");
  for (const char* number : {"4", "5", "6"}) {
    const std::string name = std::string("k8s.io/1") + number + "/done";
    ASSERT_TRUE(snapshotter_.Commit(name, "k8s.io/" + (number + named), {}).ok());
    EXPECT_FALSE(snapshotter_.Stat(name)->chain.has_value()) << number;
  }
}

class ImpatientSnapshotterTest : public OverlaySnapshotterTest {
 protected:
  ImpatientSnapshotterTest() : OverlaySnapshotterTest(std::chrono::milliseconds(20)) {}
};

TEST_F(ImpatientSnapshotterTest, SlowLayerGetsMountsAndCommitTakesOurs) {
  const ImageForTest image({"one"});
  Know(image);
  auto grown = scratch_.store().blobs().Grow(image.layer_digest(0), image.layers[0].size());
  ASSERT_TRUE(grown.ok() && grown->writer);
  const auto mounts = Prepare(Request("1/extract", "", image.chain(0))).get();
  ASSERT_TRUE(mounts.ok()) << mounts.status();

  // containerd asks to apply meanwhile: the answer waits for our own work.
  auto applied = Apply(image, *mounts);
  EXPECT_EQ(applied.wait_for(std::chrono::milliseconds(50)), std::future_status::timeout);
  ASSERT_TRUE(grown->blob->Write(0, image.layers[0]).ok());
  const auto answer = applied.get();
  ASSERT_TRUE(answer.ok()) << answer.status();
  EXPECT_EQ(answer->diff_id, image.layer_digest(0));  // uncompressed: blob and diff are one

  const store::Labels labels{{store::kSnapshotRefLabel, image.chain(0).ToString()}};
  ASSERT_TRUE(snapshotter_.Commit("k8s.io/2/layer", "k8s.io/1/extract", labels).ok());
  const auto committed = snapshotter_.Stat("k8s.io/2/layer");
  ASSERT_TRUE(committed.ok());
  EXPECT_EQ(committed->chain, image.chain(0));
  const auto view = View("k8s.io/3/view", "k8s.io/2/layer");
  EXPECT_EQ(Slurp((*view)[0].source + "/file"), "one");
}

TEST_F(ImpatientSnapshotterTest, LayerThatWentDuringARestartMakesNoEmptySnapshot) {
  const ImageForTest image({"one"});
  Know(image);
  auto grown = scratch_.store().blobs().Grow(image.layer_digest(0), image.layers[0].size());
  ASSERT_TRUE(grown.ok() && grown->writer);
  const auto mounts = Prepare(Request("1/extract", "", image.chain(0))).get();
  ASSERT_TRUE(mounts.ok()) << mounts.status();
  auto applied = Apply(image, *mounts);
  ASSERT_TRUE(grown->blob->Write(0, image.layers[0]).ok());
  ASSERT_TRUE(applied.get().ok());

  OverlaySnapshotter restarted(
      {.store = scratch_.store(), .workers = workers_, .unpackers = workers_, .timers = timers_});
  ASSERT_TRUE(scratch_.store().snapshots().RemoveLayer(image.chain(0)).ok());
  const store::Labels labels{{store::kSnapshotRefLabel, image.chain(0).ToString()}};
  EXPECT_FALSE(restarted.Commit("k8s.io/2/layer", "k8s.io/1/extract", labels).ok());
  EXPECT_FALSE(restarted.Stat("k8s.io/2/layer").ok());
}

TEST_F(ImpatientSnapshotterTest, ApplyUnpacksWhatNobodyPulls) {
  const ImageForTest image({"one"});
  scratch_.Keep(image.layers[0]);
  const auto mounts = Prepare(Request("1/extract", "", std::nullopt)).get();
  ASSERT_TRUE(mounts.ok());
  const auto answer = Apply(image, *mounts).get();
  ASSERT_TRUE(answer.ok()) << answer.status();
  EXPECT_EQ(Slurp((*mounts)[0].source + "/file"), "one");
}

}  // namespace
}  // namespace hearth::plugin
