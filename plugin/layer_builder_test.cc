#include "plugin/layer_builder.h"

#include <gtest/gtest.h>

#include <future>
#include <thread>

#include "net/http_client.h"
#include "plugin/image_for_test.h"
#include "plugin/scratch_store_for_test.h"
#include "store/blocking.h"

namespace hearth::plugin {
namespace {

using std::chrono::seconds;

// Layers whose blobs the test puts in itself: the registry is never reached.
class LayerBuilderTest : public ::testing::Test {
 protected:
  ~LayerBuilderTest() override {
    swarm_.Stop();
    builder_.Stop();
  }

  LayerTask Task(size_t index) const {
    LayerTask task;
    task.chain = image_.chain(index);
    if (index > 0) task.parent_chain = image_.chain(index - 1);
    task.diff_id = image_.layer_digest(index);
    task.blob.media_type = oci::kOciLayer;
    task.blob.digest = image_.layer_digest(index);
    task.blob.size_bytes = image_.layers[index].size();
    task.origins = {{"127.0.0.1:9", "lab/app", {}}};
    return task;
  }
  // The blob of that layer, to be written by the test.
  std::shared_ptr<store::Blob> Grow(size_t index) {
    auto grown =
        scratch_.store().blobs().Grow(image_.layer_digest(index), image_.layers[index].size());
    EXPECT_TRUE(grown.ok() && grown->writer) << grown.status();
    return grown->blob;
  }
  std::shared_ptr<LayerBuild> Build(size_t index) {
    auto build = builder_.Build(Task(index));
    EXPECT_TRUE(build.ok()) << build.status();
    return *build;
  }
  // What is enough to begin the unpack of a layer and not to end it.
  void WriteHeader(store::Blob& blob, size_t index) {
    EXPECT_TRUE(blob.Write(0, std::span(image_.layers[index]).first(512)).ok());
  }
  static void AwaitPhase(const LayerBuild& build, BuildPhase phase) {
    const Deadline deadline = Deadline::After(seconds(20));
    while (build.phase() != phase && !deadline.Passed()) std::this_thread::yield();
    EXPECT_EQ(build.phase(), phase);
  }
  bool Stored(size_t index) {
    return scratch_.store().snapshots().FindLayer(image_.chain(index)).ok();
  }

  const ImageForTest image_{{"one", "two", "three", "four"}};
  ScratchStore scratch_;
  std::unique_ptr<net::HttpClient> http_ = net::HttpClient::Create({}).value();
  oci::Registry registry_{*http_, RealClock(), {}};
  p2p::Swarm swarm_{{.blobs = scratch_.store().blobs(), .registry = registry_}};
  LayerBuilder builder_{{.store = scratch_.store(), .swarm = swarm_, .workers = 1}};
};

TEST_F(LayerBuilderTest, CancelledImageStopsItsLowerLayersToo) {
  const auto bottom = Grow(0);
  for (size_t i = 1; i < image_.layers.size(); ++i) scratch_.Keep(image_.layers[i]);
  std::vector<std::shared_ptr<LayerBuild>> builds;
  for (size_t i = 0; i < image_.layers.size(); ++i) builds.push_back(Build(i));
  std::promise<Status> ended;
  builds[0]->WhenEnded([&] { ended.set_value(OkStatus()); });
  WriteHeader(*bottom, 0);
  AwaitPhase(*builds[0], BuildPhase::kUnpacking);
  builds.clear();
  EXPECT_EQ(ended.get_future().wait_for(seconds(20)), std::future_status::ready)
      << "layers that wait for the worker hold those below them";
  bottom->Fail(Cancelled("end of test"));
}

TEST_F(LayerBuilderTest, CancelledImageStopsTheLayerThatAnUnpackedOneWaitsFor) {
  LayerBuilder builder({.store = scratch_.store(), .swarm = swarm_, .workers = 2});
  const auto bottom = Grow(0);
  scratch_.Keep(image_.layers[1]);
  auto lower = builder.Build(Task(0)).value();
  auto upper = builder.Build(Task(1)).value();
  std::promise<Status> ended;
  lower->WhenEnded([&] { ended.set_value(OkStatus()); });
  AwaitPhase(*upper, BuildPhase::kCommitting);
  lower.reset();
  upper.reset();
  EXPECT_EQ(ended.get_future().wait_for(seconds(20)), std::future_status::ready);
  bottom->Fail(Cancelled("end of test"));
  builder.Stop();
  EXPECT_FALSE(Stored(1));
}

TEST_F(LayerBuilderTest, LayerIsCommittedOnTheBuildThatFollowedAFailedParent) {
  LayerBuilder builder({.store = scratch_.store(), .swarm = swarm_, .workers = 2});
  const auto broken = Grow(0);
  const auto slow = Grow(1);
  const auto first = builder.Build(Task(0)).value();
  const auto upper = builder.Build(Task(1)).value();
  broken->Fail(NotFound("the registry has lost it"));
  AwaitPhase(*first, BuildPhase::kFailed);
  // Another preheat of an image with the same layers knows a registry that has it.
  scratch_.Keep(image_.layers[0]);
  const auto second = builder.Build(Task(0)).value();
  const auto shared = builder.Build(Task(1)).value();
  ASSERT_EQ(shared, upper);
  EXPECT_EQ(second->Wait({}, Deadline::After(seconds(20))), OkStatus());
  ASSERT_TRUE(slow->Write(0, image_.layers[1]).ok());
  EXPECT_EQ(shared->Wait({}, Deadline::After(seconds(20))), OkStatus());
  builder.Stop();
}

TEST_F(LayerBuilderTest, TwoStalledLayersHoldUpNoThird) {
  LayerBuilder builder({.store = scratch_.store(), .swarm = swarm_, .workers = 2});
  const auto silent = Grow(1);
  const auto stalled = Grow(2);
  const auto also_stalled = Grow(3);
  scratch_.Keep(image_.layers[0]);
  std::vector<std::shared_ptr<LayerBuild>> builds;
  for (const size_t index : {1, 2, 3}) builds.push_back(builder.Build(Task(index)).value());
  WriteHeader(*stalled, 2);
  WriteHeader(*also_stalled, 3);
  AwaitPhase(*builds[1], BuildPhase::kUnpacking);
  AwaitPhase(*builds[2], BuildPhase::kUnpacking);
  EXPECT_EQ(builds[0]->phase(), BuildPhase::kWaiting);
  const auto third = builder.Build(Task(0)).value();
  EXPECT_EQ(third->Wait({}, Deadline::After(seconds(20))), OkStatus());
  // They go on where they were.
  ASSERT_TRUE(silent->Write(0, image_.layers[1]).ok());
  ASSERT_TRUE(stalled->Write(512, std::span(image_.layers[2]).subspan(512)).ok());
  ASSERT_TRUE(also_stalled->Write(512, std::span(image_.layers[3]).subspan(512)).ok());
  for (const auto& build : builds) {
    EXPECT_EQ(build->Wait({}, Deadline::After(seconds(20))), OkStatus());
  }
  builder.Stop();
}

TEST_F(LayerBuilderTest, TheSyncOfAnUnpackedBlobHoldsUpNoOtherLayer) {
  store::GatedDisk disk;
  disk.Open();
  ScratchStore scratch(disk);
  scratch.Keep(image_.layers[1]);
  disk.Close();
  p2p::Swarm swarm({.blobs = scratch.store().blobs(), .registry = registry_});
  LayerBuilder builder({.store = scratch.store(), .swarm = swarm, .workers = 1});
  const auto grown =
      scratch.store().blobs().Grow(image_.layer_digest(0), image_.layers[0].size()).value();
  const auto lower = builder.Build(Task(0)).value();
  ASSERT_TRUE(grown.blob->Write(0, image_.layers[0]).ok());
  EXPECT_TRUE(disk.AwaitWaiting(1, Deadline::After(seconds(20))));
  const auto upper = builder.Build(Task(1)).value();
  AwaitPhase(*upper, BuildPhase::kCommitting);
  EXPECT_EQ(lower->phase(), BuildPhase::kUnpacking);
  disk.Open();
  EXPECT_EQ(upper->Wait({}, Deadline::After(seconds(20))), OkStatus());
  swarm.Stop();
  builder.Stop();
}

TEST_F(LayerBuilderTest, StopEndsABuildThatWaitsForItsFirstByte) {
  LayerBuilder builder({.store = scratch_.store(), .swarm = swarm_, .workers = 1});
  const auto silent = Grow(0);
  const auto build = builder.Build(Task(0)).value();
  builder.Stop();
  EXPECT_EQ(build->status().code(), StatusCode::kCancelled);
  silent->Fail(Cancelled("end of test"));
}

TEST_F(LayerBuilderTest, RemovedLayerIsBuiltAgainWhileSomebodyHoldsItsBuild) {
  scratch_.Keep(image_.layers[0]);
  const auto first = Build(0);
  ASSERT_EQ(first->Wait({}, Deadline::After(seconds(20))), OkStatus());
  ASSERT_TRUE(scratch_.store().snapshots().RemoveLayer(image_.chain(0)).ok());
  const auto second = Build(0);
  EXPECT_EQ(second->Wait({}, Deadline::After(seconds(20))), OkStatus());
  EXPECT_TRUE(Stored(0));
}

}  // namespace
}  // namespace hearth::plugin
