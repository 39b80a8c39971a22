#include "plugin/mender.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <filesystem>
#include <future>
#include <map>
#include <thread>

#include "net/http_client.h"
#include "plugin/image_for_test.h"
#include "plugin/overlay_snapshotter.h"

namespace hearth::plugin {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using testing::HasSubstr;

// What a test chooses of Mender::Options.
struct Choices {
  std::function<Status(std::stop_token)> repair = {};
  milliseconds pause = std::chrono::hours(1);
  int attempts = 12;
  milliseconds fresh{0};
  milliseconds containerd_patience = std::chrono::hours(1);
};

// All that one start of a node has for its layers.
struct Started {
  Started(const std::filesystem::path& root, ThreadPool& cpu, const std::string& boot_id,
          const Choices& choices)
      : store(store::Store::Open({.root = root, .cpu_pool = cpu, .boot_id = boot_id}).value()),
        mender({.store = *store,
                .builder = builder,
                .chains = chains,
                .timers = timers,
                .repair = choices.repair,
                .first_pause = choices.pause,
                .longest_pause = choices.pause,
                .attempts = choices.attempts,
                .fresh = choices.fresh,
                .containerd_patience = choices.containerd_patience}) {}
  ~Started() {
    mender.Stop();
    swarm.Stop();
    builder.Stop();
    workers.Join();
  }

  std::unique_ptr<store::Store> store;
  TimerQueue timers;
  ThreadPool workers{{.name = "work", .threads = 2}};
  std::unique_ptr<net::HttpClient> http = net::HttpClient::Create({}).value();
  oci::Registry registry{*http, RealClock(), {}};
  p2p::Swarm swarm{{.blobs = store->blobs(), .registry = registry}};
  LayerBuilder builder{
      {.store = *store, .swarm = swarm, .on_committed = [this] { mender.Recheck(); }}};
  ChainIndex chains{{.blobs = store->blobs(), .kv = store->kv()}};
  Mender mender;
  OverlaySnapshotter snapshotter{{.store = *store,
                                  .workers = workers,
                                  .unpackers = workers,
                                  .timers = timers,
                                  .mender = &mender,
                                  .lost_prepare_wait = seconds(60)}};
};

class MenderTest : public ::testing::Test {
 protected:
  MenderTest() {
    char name[] = "/tmp/hearth-mender-XXXXXX";
    root_ = ::mkdtemp(name);
    Start(BootId());
  }
  ~MenderTest() override {
    node_.reset();
    EXPECT_TRUE(RemoveTree(root_).ok());
  }

  void Start(const std::string& boot_id) {
    node_.reset();
    node_.emplace(root_, cpu_, boot_id, choices_);
  }
  void LosePower() { Start("another boot"); }

  Digest Keep(const std::string& bytes) {
    const Digest digest = Digest::Of(bytes);
    auto grown = node_->store->blobs().Grow(digest, bytes.size());
    EXPECT_TRUE(grown.ok()) << grown.status();
    if (grown->writer) {
      EXPECT_TRUE(grown->blob->Write(0, bytes).ok());
    }
    EXPECT_TRUE(grown->blob->WaitComplete({}).ok());
    return digest;
  }
  // Pulled, so that containerd has the names, and nothing is synced yet. Returns the top one.
  std::string Pull(const ImageForTest& image) {
    Keep(image.manifest);
    Keep(image.config);
    node_->chains.OnCommitted("k8s.io/1/manifest-" + image.manifest_digest().ToString(),
                              image.manifest_digest(), image.manifest.size());
    const auto found = node_->chains.Find(image.chain(0), "");
    EXPECT_EQ(found.size(), 1u);
    std::string name;
    for (size_t i = 0; i < image.layers.size(); ++i) {
      Keep(image.layers[i]);
      name = Build(image, i, name);
    }
    return name;
  }
  std::string Build(const ImageForTest& image, size_t index, const std::string& parent) {
    const auto built = BuildLayer(image, index);
    EXPECT_TRUE(built.ok()) << built;
    return node_->store->snapshots().Alias(image.chain(index), parent).value().name;
  }
  Status BuildLayer(const ImageForTest& image, size_t index) {
    LayerTask task{.chain = image.chain(index),
                   .parent_chain = {},
                   .diff_id = image.layer_digest(index),
                   .blob = {},
                   .origins = {}};
    if (index > 0) task.parent_chain = image.chain(index - 1);
    task.blob.media_type = std::string(oci::kOciLayer);
    task.blob.digest = image.layer_digest(index);
    task.blob.size_bytes = image.layers[index].size();
    const auto build = node_->builder.Build(task);
    return build.ok() ? (*build)->Wait({}) : build.status();
  }

  Status Await(const std::string& name, milliseconds wait = seconds(60)) {
    return AwaitLater(name, wait).get();
  }
  std::future<Status> AwaitLater(const std::string& name, milliseconds wait = seconds(60),
                                 std::stop_token stop = {}) {
    auto promise = std::make_shared<std::promise<Status>>();
    node_->mender.Await(name, Deadline::After(wait), stop,
                        [promise](const Status& status) { promise->set_value(status); });
    return promise->get_future();
  }
  Result<std::vector<Mount>> Prepare(const std::string& key, const std::string& parent) {
    std::promise<Result<std::vector<Mount>>> answer;
    node_->snapshotter.Prepare({.key = key, .parent = parent, .labels = {}}, {},
                               [&](auto mounts) { answer.set_value(std::move(mounts)); });
    return answer.get_future().get();
  }
  Result<std::vector<Mount>> Mounts(const std::string& key) {
    std::promise<Result<std::vector<Mount>>> answer;
    node_->snapshotter.Mounts(key, {}, [&](auto mounts) { answer.set_value(std::move(mounts)); });
    return answer.get_future().get();
  }
  std::string FileOf(const ImageForTest& image, size_t index) {
    const auto layer = node_->store->snapshots().FindLayer(image.chain(index));
    if (!layer.ok()) return layer.status().ToString();
    return ReadFile(node_->store->snapshots().FsPath(layer->directory) / "file", 100).value();
  }

  ThreadPool cpu_{{.name = "cpu", .threads = 2}};
  std::filesystem::path root_;
  Choices choices_;
  std::optional<Started> node_;
};

TEST_F(MenderTest, UnpacksLostLayersFromOwnBlobsWithoutContainerd) {
  const ImageForTest image({"one", "two", "three"});
  const std::string top = Pull(image);
  ASSERT_TRUE(Prepare("k8s.io/8/box", top).ok());
  LosePower();
  EXPECT_EQ(node_->store->snapshots().LostLayers().size(), 3u);
  node_->mender.Start();
  const auto mounts = Prepare("k8s.io/9/box", top);
  ASSERT_TRUE(mounts.ok()) << mounts.status();
  EXPECT_EQ(FileOf(image, 0) + FileOf(image, 1) + FileOf(image, 2), "onetwothree");
  EXPECT_TRUE(Mounts("k8s.io/8/box").ok()) << "a container of before";
  EXPECT_TRUE(node_->store->snapshots().LostLayers().empty());
}

TEST_F(MenderTest, MountsOfAContainerWaitToo) {
  const ImageForTest image({"one"});
  ASSERT_TRUE(Prepare("k8s.io/8/box", Pull(image)).ok());
  LosePower();
  node_->mender.Start();
  const auto mounts = Mounts("k8s.io/8/box");
  EXPECT_TRUE(mounts.ok()) << mounts.status();
}

TEST_F(MenderTest, LeavesTheRestToRepairOnceContainerdAnswers) {
  const ImageForTest image({"one"});
  const std::string top = Pull(image);
  ASSERT_TRUE(node_->store->blobs().Remove(image.layer_digest(0)).ok());
  int repairs = 0;
  choices_.repair = [&](const std::stop_token&) {
    ++repairs;
    Keep(image.layers[0]);
    return BuildLayer(image, 0);
  };
  LosePower();
  node_->mender.Start();
  auto waiting = AwaitLater(top);
  EXPECT_EQ(Await(top, milliseconds(1)).code(), StatusCode::kUnavailable);
  EXPECT_EQ(repairs, 0);
  node_->mender.OnContainerd();
  const Status whole = waiting.get();
  EXPECT_TRUE(whole.ok()) << whole;
  node_->mender.Stop();
  EXPECT_EQ(repairs, 1);
}

// It reaches our socket, but we do not reach its: who waits is told so, and its first answer helps.
TEST_F(MenderTest, ContainerdThatStaysAwayIsNotWaitedForWithoutBound) {
  const ImageForTest image({"one"});
  const std::string top = Pull(image);
  ASSERT_TRUE(node_->store->blobs().Remove(image.layer_digest(0)).ok());
  choices_.containerd_patience = milliseconds(1);
  choices_.repair = [&](const std::stop_token&) {
    Keep(image.layers[0]);
    return BuildLayer(image, 0);
  };
  LosePower();
  node_->mender.Start();
  const Status lost = Await(top);
  EXPECT_EQ(lost.code(), StatusCode::kFailedPrecondition);
  EXPECT_THAT(lost.message(), HasSubstr("containerd does not answer"));
  EXPECT_THAT(lost.message(), HasSubstr("blob " + image.layer_digest(0).ToString() + " is not"));
  node_->mender.OnContainerd();
  const Status whole = Await(top);
  EXPECT_TRUE(whole.ok()) << whole;
}

// kubelet asks again and again: what is left for everything else is still tried by itself.
TEST_F(MenderTest, NeedsDoNotUseUpTheAttempts) {
  const ImageForTest image({"one"});
  const std::string top = Pull(image);
  ASSERT_TRUE(node_->store->blobs().Remove(image.layer_digest(0)).ok());
  std::atomic<int> repairs = 0;
  choices_.repair = [&](const std::stop_token&) {
    ++repairs;
    return Unavailable("the registry is away");
  };
  choices_.pause = milliseconds(200);
  choices_.attempts = 30;
  LosePower();
  node_->mender.Start();
  node_->mender.OnContainerd();
  for (int need = 0; need < 40; ++need) {
    EXPECT_THAT(Await(top).message(), HasSubstr("the registry is away"));
  }
  const int before = repairs;
  const auto patience = std::chrono::steady_clock::now() + seconds(20);
  while (repairs == before && std::chrono::steady_clock::now() < patience) {
    std::this_thread::sleep_for(milliseconds(5));
  }
  EXPECT_GT(repairs, before);
  node_->mender.Stop();
}

TEST_F(MenderTest, SaysWhyALayerCannotBeHadAndTriesAgainWhenAsked) {
  const ImageForTest image({"one"});
  const std::string top = Pull(image);
  ASSERT_TRUE(node_->store->blobs().Remove(image.layer_digest(0)).ok());
  LosePower();
  node_->mender.Start();
  const Status lost = Await(top);
  EXPECT_EQ(lost.code(), StatusCode::kFailedPrecondition);
  EXPECT_THAT(lost.message(), HasSubstr("blob " + image.layer_digest(0).ToString() + " is not"));
  EXPECT_THAT(lost.message(), HasSubstr("hearth repair"));
  EXPECT_FALSE(Prepare("k8s.io/9/box", top).ok());
  EXPECT_EQ(node_->store->snapshots().Stat("k8s.io/9/box").status().code(), StatusCode::kNotFound);
  Keep(image.layers[0]);
  EXPECT_TRUE(Prepare("k8s.io/9/box", top).ok());
}

TEST_F(MenderTest, AFreshFailureIsTheAnswer) {
  const ImageForTest image({"one"});
  const std::string top = Pull(image);
  ASSERT_TRUE(node_->store->blobs().Remove(image.layer_digest(0)).ok());
  choices_.fresh = std::chrono::hours(1);
  LosePower();
  node_->mender.Start();
  EXPECT_EQ(Await(top).code(), StatusCode::kFailedPrecondition);
  Keep(image.layers[0]);
  EXPECT_EQ(Await(top).code(), StatusCode::kFailedPrecondition);
}

TEST_F(MenderTest, WaitsForNamesThatOnlyContainerdHas) {
  const ImageForTest image({"one"});
  const std::string top = Pull(image);
  std::promise<void> begin;
  choices_.repair = [&](const std::stop_token&) -> Status {
    begin.get_future().wait();
    TRY_STATUS(node_->store->snapshots().Restore({.name = "hearth/77/restored",
                                                  .parent = "",
                                                  .kind = store::SnapshotKind::kCommitted,
                                                  .created = {},
                                                  .updated = {},
                                                  .labels = {},
                                                  .directory = 0,
                                                  .chain = image.chain(0)}));
    node_->mender.Recheck();
    return OkStatus();
  };
  LosePower();
  node_->mender.Start();
  node_->mender.OnContainerd();
  auto restored = AwaitLater("hearth/77/restored");
  auto unknown = AwaitLater("k8s.io/5/nobody's");
  begin.set_value();
  EXPECT_TRUE(restored.get().ok());
  EXPECT_EQ(unknown.get().code(), StatusCode::kNotFound);
}

TEST_F(MenderTest, AWaitEndsWithItsCallerAndWithTheNode) {
  const ImageForTest image({"one"});
  const std::string top = Pull(image);
  ASSERT_TRUE(node_->store->blobs().Remove(image.layer_digest(0)).ok());
  choices_.repair = [](const std::stop_token&) { return OkStatus(); };
  LosePower();
  node_->mender.Start();
  std::stop_source gone;
  auto cancelled = AwaitLater(top, seconds(60), gone.get_token());
  auto stopped = AwaitLater(top);
  gone.request_stop();
  EXPECT_EQ(cancelled.get().code(), StatusCode::kCancelled);
  node_->mender.Stop();
  EXPECT_EQ(stopped.get().code(), StatusCode::kUnavailable);
  EXPECT_EQ(Await(top).code(), StatusCode::kFailedPrecondition);
}

TEST_F(MenderTest, DoesNothingAfterAnOrderlyStop) {
  choices_.repair = [](const std::stop_token&) {
    ADD_FAILURE() << "nothing was lost";
    return OkStatus();
  };
  const ImageForTest image({"one"});
  const std::string top = Pull(image);
  auto& snapshots = node_->store->snapshots();
  ASSERT_TRUE(snapshots.MarkDurable(snapshots.NotDurable()).ok());
  LosePower();
  node_->mender.Start();
  node_->mender.OnContainerd();
  EXPECT_TRUE(Await(top).ok());
  EXPECT_EQ(Await("nobody's").code(), StatusCode::kNotFound);
}

}  // namespace
}  // namespace hearth::plugin
