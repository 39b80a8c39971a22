// OverlaySnapshotter: the Snapshotter over our store.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <unordered_map>

#include "base/thread.h"
#include "base/timer.h"
#include "plugin/chain_index.h"
#include "plugin/layer_builder.h"
#include "plugin/mender.h"
#include "plugin/native_pull.h"
#include "plugin/snapshotter.h"
#include "store/store.h"

namespace hearth::plugin {

class OverlaySnapshotter final : public Snapshotter {
 public:
  struct Options {
    store::Store& store;
    ThreadPool& workers;    // for short work that follows a wait
    ThreadPool& unpackers;  // for layers that containerd asks to be applied
    TimerQueue& timers;
    ChainIndex* chains = nullptr;  // these three null = never pull natively
    LayerBuilder* builder = nullptr;
    NativePulls* pulls = nullptr;
    Mender* mender = nullptr;  // null = what a power loss took stays lost
    // Makes the containerd namespace know the blob of a layer that it takes from us, then calls
    // `adopted`, from any thread. Null = nobody does.
    std::function<void(const std::string& containerd_namespace, const store::LayerInfo& layer,
                       std::function<void()> adopted)>
        adopt = {};
    // Prepare's answer waits so long for it, so that who exports right after a pull finds the
    // blobs.
    std::chrono::milliseconds adopt_wait{1000};
    // A snapshot left a directory to delete, or one whose files are to be synced; must not block.
    std::function<void()> on_changed = {};
    // containerd holds a lock of its snapshots across Prepare; beyond this it gets mounts.
    std::chrono::milliseconds prepare_wait{5000};
    // For layers that a power loss took. The first ends a call that holds that lock, and longer
    // than prepare_wait, since containerd has nothing else to go on with; the second one that does
    // not.
    std::chrono::milliseconds lost_prepare_wait{30'000};
    std::chrono::milliseconds lost_mounts_wait{600'000};
  };
  explicit OverlaySnapshotter(Options options);

  void Prepare(PrepareRequest request, std::stop_token stop,
               std::function<void(Result<std::vector<Mount>>)> done) override;
  void View(PrepareRequest request, std::stop_token stop,
            std::function<void(Result<std::vector<Mount>>)> done) override;
  void Mounts(std::string key, std::stop_token stop,
              std::function<void(Result<std::vector<Mount>>)> done) override;
  Status Commit(const std::string& name, const std::string& key,
                const store::Labels& labels) override;
  Status Remove(const std::string& key) override;
  Result<store::SnapshotInfo> Stat(const std::string& key) override;
  Result<store::SnapshotInfo> UpdateLabels(const std::string& key, const store::Labels& labels,
                                           bool replace) override;
  Status List(const std::function<bool(const store::SnapshotInfo&)>& visit) override;
  Result<store::SnapshotUsage> Usage(const std::string& key) override;
  Status Cleanup(std::stop_token stop) override;
  void Apply(ApplyRequest request, std::stop_token stop,
             std::function<void(Result<Applied>)> done) override;

 private:
  // A committed snapshot for `request`, of a layer that is here if need be; kNotFound without one.
  Result<store::SnapshotInfo> FindLayerFor(const PrepareRequest& request);
  // Answers kAlreadyExists, after containerd adopted the snapshot's blob where it is our layer.
  void AnswerExists(const PrepareRequest& request, const store::SnapshotInfo& snapshot,
                    std::function<void(Result<std::vector<Mount>>)> done);
  // A build of the layer that `request` asks for; null when we cannot or must not pull it.
  std::shared_ptr<LayerBuild> StartPull(const PrepareRequest& request);
  // Runs `work` and answers with what it says, when the files of snapshot `name` and of all below
  // it are here; else `done` gets why they are not.
  void WhenWhole(const std::string& name, std::chrono::milliseconds wait, std::stop_token stop,
                 std::function<Result<std::vector<Mount>>()> work,
                 std::function<void(Result<std::vector<Mount>>)> done);
  // The same, of a new snapshot on request.parent.
  void Create(store::SnapshotKind kind, PrepareRequest request, std::stop_token stop,
              std::function<void(Result<std::vector<Mount>>)> done);
  Result<std::vector<Mount>> CreateNow(store::SnapshotKind kind, const PrepareRequest& request);
  Result<std::vector<Mount>> MountsNow(const std::string& key);
  Result<std::vector<Mount>> MountsOf(const store::SnapshotInfo& snapshot);
  // The active snapshot whose directory these mounts write to; kNotFound when it is none of ours.
  Result<store::SnapshotInfo> OwnerOf(const std::vector<Mount>& mounts);
  // Our layer that applying this blob to `active` would make; none where it lies on another parent,
  // or somebody wrote to it already.
  std::optional<store::LayerInfo> LayerFor(const store::SnapshotInfo& active,
                                           const std::string& blob);
  Result<Applied> ApplyHere(const ApplyRequest& request, std::stop_token stop);

  // Says in the active's directory that Apply answered for `chain` without writing: its Commit must
  // become this layer, also when we were restarted in between. nullopt: take the word back.
  Status MarkAnswered(uint64_t directory, const std::optional<Digest>& chain);
  Result<std::optional<Digest>> Answered(uint64_t directory) const;
  std::filesystem::path AnsweredPath(uint64_t directory) const;

  const Options options_;
  Mutex mutex_;
  std::unordered_map<uint64_t, std::string> actives_ GUARDED_BY(mutex_);  // directory → key
};

}  // namespace hearth::plugin
