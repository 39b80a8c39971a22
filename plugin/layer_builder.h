// LayerBuilder: fetches layer blobs and unpacks them, one build per chain, whoever asks.
//
// Blobs are asked of the swarm at once and in order; layers unpack in parallel, in any order, and
// are committed lowest first. A build starts when its blob has a first byte, and while the blob
// stalls another one unpacks in its place. Any thread; no call waits.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/clock.h"
#include "base/digest.h"
#include "base/status.h"
#include "base/thread.h"
#include "oci/descriptor.h"
#include "p2p/swarm.h"
#include "plugin/unpack_slots.h"
#include "store/store.h"

namespace hearth::plugin {

struct LayerTask {
  Digest chain;
  std::optional<Digest> parent_chain;  // none for the lowest layer
  Digest diff_id;
  oci::Descriptor blob;
  std::vector<oci::Access> origins;
};

enum class BuildPhase : uint8_t { kWaiting, kUnpacking, kCommitting, kDone, kFailed };

struct LayerBuildState;

// A share in one build, which goes on while anybody holds one; the last one dropped cancels it.
class LayerBuild {
 public:
  explicit LayerBuild(std::shared_ptr<LayerBuildState> state) : state_(std::move(state)) {}
  ~LayerBuild();
  LayerBuild(const LayerBuild&) = delete;
  LayerBuild& operator=(const LayerBuild&) = delete;

  BuildPhase phase() const;
  // OK while it goes on and when the layer is committed; else why it failed.
  Status status() const;
  // Bytes of the blob that are here.
  uint64_t FetchedBytes() const;
  // `wake` runs once, from any thread (also directly), when the build ended either way.
  void WhenEnded(std::function<void()> wake);
  // Blocks until it ended. kCancelled: `stop`; kDeadlineExceeded: it goes on.
  Status Wait(std::stop_token stop, Deadline deadline = Deadline::Never());

 private:
  friend class LayerBuilder;
  const std::shared_ptr<LayerBuildState> state_;
};

class LayerBuilder {
 public:
  struct Options {
    store::Store& store;
    p2p::Swarm& swarm;
    size_t workers = 2;                       // layers that unpack at once
    size_t stalled = 4;                       // begun ones that may wait for bytes besides
    size_t queue_limit = 4096;                // builds that wait for bytes or for a worker
    std::function<void()> on_committed = {};  // after each layer; must not block
  };
  explicit LayerBuilder(Options options);
  ~LayerBuilder();

  // Joins or starts the build; of a layer that is there: one that has ended. Its parent's build
  // must have been asked for before, or be there. Errors: those of the swarm; kUnimplemented for a
  // media type that is not ours; kResourceExhausted when the queue is full.
  Result<std::shared_ptr<LayerBuild>> Build(const LayerTask& task);
  // The build under way; null when there is none.
  std::shared_ptr<LayerBuild> Find(const Digest& chain);
  // Cancels what is under way and joins the workers. Idempotent.
  void Stop();

 private:
  // Starts the build when its blob has bytes, or ends it when it is stopped before.
  void StartWhenReady(const std::shared_ptr<LayerBuildState>& state);
  void Start(const std::shared_ptr<LayerBuildState>& state);
  void Unpack(const std::shared_ptr<LayerBuildState>& state);
  Status UnpackOnce(LayerBuildState& state);
  Status AwaitBlob(LayerBuildState& state, store::Blob& blob);
  void CommitWhenReady(const std::shared_ptr<LayerBuildState>& state);
  // True when the parent's build failed and is followed by another, which this now waits for.
  bool FollowParent(const std::shared_ptr<LayerBuildState>& state);
  Status Commit(LayerBuildState& state);
  void End(LayerBuildState& state, Status status);

  const Options options_;
  Mutex mutex_;
  std::unordered_map<Digest, std::weak_ptr<LayerBuild>> builds_ GUARDED_BY(mutex_);
  bool stopped_ GUARDED_BY(mutex_) = false;
  size_t waiting_ GUARDED_BY(mutex_) = 0;  // builds that wait for the first byte
  CondVar started_;                        // one fewer
  UnpackSlots slots_;
  // Last, so that their threads end before the rest goes; workers hand over to committers.
  ThreadPool committers_;
  ThreadPool workers_;
};

}  // namespace hearth::plugin
