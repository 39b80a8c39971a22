#include "plugin/layer_builder.h"

#include <atomic>
#include <chrono>
#include <utility>

#include "base/log.h"
#include "base/metrics.h"
#include "plugin/unpacker.h"

namespace hearth::plugin {

namespace {

constexpr int kMaxUnpackAttempts = 3;

CounterFamily g_layers("hearth_layers_built_total",
                       "Layers that were unpacked here, by how that ended.", {"result"});
HistogramFamily g_unpack_seconds(
    "hearth_unpack_seconds",
    "Time of one layer from the start of its unpack to its end, waiting for its bytes included.",
    {0.01, 0.05, 0.1, 0.5, 1, 2, 5, 10, 30, 60, 300});

// The growing blob as the unpacker reads it.
class BlobBytes final : public ByteSource {
 public:
  BlobBytes(store::Blob& blob, std::stop_token stop) : blob_(blob), stop_(std::move(stop)) {}
  Result<size_t> Read(std::span<char> out) override {
    const size_t got = TRY(blob_.Read(offset_bytes_, out, stop_));
    offset_bytes_ += got;
    return got;
  }

 private:
  store::Blob& blob_;
  std::stop_token stop_;
  uint64_t offset_bytes_ = 0;
};

}  // namespace

struct LayerBuildState {
  LayerTask task;
  std::stop_source stop;

  Mutex mutex;
  CondVar changed;  // ended
  // Kept, until it ended or nobody wants it, so that they are not cancelled under us.
  std::shared_ptr<LayerBuild> parent GUARDED_BY(mutex);
  std::shared_ptr<p2p::Fetch> fetch GUARDED_BY(mutex);
  BuildPhase phase GUARDED_BY(mutex) = BuildPhase::kWaiting;
  Status status GUARDED_BY(mutex);
  std::vector<std::function<void()>> wakes GUARDED_BY(mutex);

  // Of the worker that has the build now.
  uint64_t directory = 0;
  Unpacked unpacked;

  void SetPhase(BuildPhase next) {
    MutexLock lock(mutex);
    phase = next;
  }
  std::shared_ptr<store::Blob> Blob() {
    MutexLock lock(mutex);
    return fetch ? fetch->blob() : nullptr;
  }
  std::shared_ptr<LayerBuild> Parent() {
    MutexLock lock(mutex);
    return parent;
  }
  bool Ended() const REQUIRES(mutex) {
    return phase == BuildPhase::kDone || phase == BuildPhase::kFailed;
  }
};

LayerBuild::~LayerBuild() {
  state_->stop.request_stop();
  // Dropped outside of the lock. At once, since this build may wait long for its own end: in the
  // queue, or for the parent itself.
  std::shared_ptr<p2p::Fetch> fetch;
  std::shared_ptr<LayerBuild> parent;
  MutexLock lock(state_->mutex);
  if (state_->Ended()) return;
  fetch = std::move(state_->fetch);
  parent = std::move(state_->parent);
}

BuildPhase LayerBuild::phase() const {
  MutexLock lock(state_->mutex);
  return state_->phase;
}

Status LayerBuild::status() const {
  MutexLock lock(state_->mutex);
  return state_->status;
}

uint64_t LayerBuild::FetchedBytes() const {
  const auto blob = state_->Blob();
  if (blob) return blob->PresentBytes();
  return phase() == BuildPhase::kDone ? state_->task.blob.size_bytes : 0;
}

void LayerBuild::WhenEnded(std::function<void()> wake) {
  {
    MutexLock lock(state_->mutex);
    if (!state_->Ended()) {
      state_->wakes.push_back(std::move(wake));
      return;
    }
  }
  wake();
}

Status LayerBuild::Wait(std::stop_token stop, Deadline deadline) {
  LayerBuildState& state = *state_;
  // Before the lock, since it may run at once, and after it in destruction.
  const std::stop_callback on_stop(stop, [&state] {
    MutexLock lock(state.mutex);
    state.changed.NotifyAll();
  });
  MutexLock lock(state.mutex);
  while (!state.Ended()) {
    const std::string what = "layer " + state.task.chain.ToString();
    if (stop.stop_requested()) return Cancelled(what);
    if (deadline.Passed()) return DeadlineExceeded(what);
    if (deadline.IsNever()) {
      state.changed.Wait(state.mutex);
    } else {
      (void)state.changed.WaitUntil(state.mutex, deadline.at());
    }
  }
  return state.status;
}

LayerBuilder::LayerBuilder(Options options)
    : options_(std::move(options)),
      committers_({.name = "commit", .threads = 1, .queue_limit = options_.queue_limit}),
      workers_(
          {.name = "unpack", .threads = options_.workers, .queue_limit = options_.queue_limit}) {}

LayerBuilder::~LayerBuilder() { Stop(); }

void LayerBuilder::Stop() {
  std::vector<std::shared_ptr<LayerBuild>> running;
  {
    MutexLock lock(mutex_);
    stopped_ = true;
    for (const auto& [chain, weak] : builds_) {
      if (auto build = weak.lock()) running.push_back(std::move(build));
    }
  }
  for (const auto& build : running) build->state_->stop.request_stop();
  workers_.Join();
  committers_.Join();
}

std::shared_ptr<LayerBuild> LayerBuilder::Find(const Digest& chain) {
  MutexLock lock(mutex_);
  const auto entry = builds_.find(chain);
  return entry == builds_.end() ? nullptr : entry->second.lock();
}

Result<std::shared_ptr<LayerBuild>> LayerBuilder::Build(const LayerTask& task) {
  const auto compression = TRY(CompressionOf(task.blob.media_type));
  (void)compression;
  const bool there = options_.store.snapshots().FindLayer(task.chain).ok();
  std::shared_ptr<LayerBuild> parent;
  if (!there && task.parent_chain) parent = Find(*task.parent_chain);
  auto fetch = options_.swarm.Fetch(
      {.digest = task.blob.digest, .size_bytes = task.blob.size_bytes, .origins = task.origins});
  if (!fetch.ok() && !there) return fetch.status();

  std::shared_ptr<LayerBuild> build;
  {
    MutexLock lock(mutex_);
    if (stopped_) return Cancelled("the node is stopping");
    auto& entry = builds_[task.chain];
    if (auto running = entry.lock(); running && !there) {
      const BuildPhase phase = running->phase();
      // What was done may have been removed since.
      const bool gone =
          phase == BuildPhase::kDone && !options_.store.snapshots().FindLayer(task.chain).ok();
      if (phase != BuildPhase::kFailed && !gone) return running;
    }
    auto state = std::make_shared<LayerBuildState>();
    state->task = task;
    {
      MutexLock state_lock(state->mutex);
      state->parent = std::move(parent);
      if (fetch.ok()) state->fetch = std::move(*fetch);
      if (there) state->phase = BuildPhase::kDone;
    }
    build = std::make_shared<LayerBuild>(std::move(state));
    if (there) return build;
    entry = build;
    std::erase_if(builds_, [](const auto& item) { return item.second.expired(); });
  }
  const Status queued = workers_.Submit([this, state = build->state_] { Unpack(state); });
  if (!queued.ok()) End(*build->state_, queued);
  return build;
}

void LayerBuilder::Unpack(const std::shared_ptr<LayerBuildState>& state) {
  state->SetPhase(BuildPhase::kUnpacking);
  const auto started = std::chrono::steady_clock::now();
  Status status;
  for (int attempt = 1; attempt <= kMaxUnpackAttempts; ++attempt) {
    status = UnpackOnce(*state);
    const auto blob = state->Blob();
    // A source that gave wrong bytes is followed by the next, which fills another blob.
    const bool wrong_bytes = !status.ok() && blob && blob->state() == store::Blob::State::kFailed &&
                             blob->failure().code() == StatusCode::kDataLoss;
    if (!wrong_bytes) break;
    auto again = options_.swarm.Fetch({.digest = state->task.blob.digest,
                                       .size_bytes = state->task.blob.size_bytes,
                                       .origins = {}});
    if (!again.ok()) break;
    MutexLock lock(state->mutex);
    state->fetch = std::move(*again);
  }
  if (!status.ok()) {
    End(*state, status);
    return;
  }
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - started;
  g_unpack_seconds.Observe({}, took.count());
  state->SetPhase(BuildPhase::kCommitting);
  CommitWhenReady(state);
}

Status LayerBuilder::UnpackOnce(LayerBuildState& state) {
  const auto blob = state.Blob();
  const auto stop = state.stop.get_token();
  if (!blob || stop.stop_requested()) return Cancelled("nobody waits for the layer any more");
  auto& snapshots = options_.store.snapshots();
  state.directory = TRY(snapshots.BeginLayer());
  BlobBytes bytes(*blob, stop);
  auto unpacked = plugin::Unpack(bytes,
                                 {.root = snapshots.FsPath(state.directory),
                                  .lower = {},
                                  .bottom = !state.task.parent_chain,
                                  .compression = TRY(CompressionOf(state.task.blob.media_type))},
                                 stop);
  Status status = unpacked.status();
  // The blob's own fault explains more than what the unpacker made of its end.
  if (!status.ok() && blob->state() == store::Blob::State::kFailed) status = blob->failure();
  if (status.ok() && unpacked->diff_id != state.task.diff_id) {
    status = DataLoss("its content is " + unpacked->diff_id.ToString() +
                      ", but the image's config says " + state.task.diff_id.ToString());
  }
  if (status.ok()) status = blob->WaitComplete(stop);
  if (!status.ok()) {
    snapshots.AbandonLayer(state.directory);
    state.directory = 0;
    return status;
  }
  state.unpacked = std::move(*unpacked);
  return OkStatus();
}

void LayerBuilder::CommitWhenReady(const std::shared_ptr<LayerBuildState>& state) {
  const auto commit = [this, state] {
    const Status queued = committers_.Submit([this, state] {
      if (!FollowParent(state)) End(*state, Commit(*state));
    });
    if (!queued.ok()) End(*state, queued);
  };
  if (const auto parent = state->Parent()) {
    parent->WhenEnded(commit);
  } else {
    commit();
  }
}

bool LayerBuilder::FollowParent(const std::shared_ptr<LayerBuildState>& state) {
  const auto failed = state->Parent();
  if (!failed || failed->status().ok() || state->stop.stop_requested()) return false;
  const auto next = Find(*state->task.parent_chain);
  if (!next || next == failed || next->phase() == BuildPhase::kFailed) return false;
  {
    MutexLock lock(state->mutex);
    state->parent = next;
  }
  CommitWhenReady(state);
  return true;
}

Status LayerBuilder::Commit(LayerBuildState& state) {
  auto& snapshots = options_.store.snapshots();
  const LayerTask& task = state.task;
  if (state.stop.stop_requested()) return Cancelled("nobody waits for the layer any more");
  if (const auto parent = state.Parent(); parent && !parent->status().ok()) {
    const bool there = snapshots.FindLayer(*task.parent_chain).ok();
    if (!there) return parent->status().Annotate("the layer below");
  }
  std::vector<std::filesystem::path> lower;
  if (task.parent_chain) {
    lower = TRY(snapshots.LayerPaths(*task.parent_chain).Annotate("the layer below"));
  }
  TRY_STATUS(ResolveImpliedDirectories(snapshots.FsPath(state.directory), lower,
                                       state.unpacked.implied_directories));
  store::LayerInfo layer;
  layer.chain = task.chain;
  layer.parent_chain = task.parent_chain;
  layer.diff_id = task.diff_id;
  layer.blob = task.blob.digest;
  layer.directory = state.directory;
  layer.tar_bytes = state.unpacked.tar_bytes;
  layer.disk_bytes = state.unpacked.disk_bytes;
  layer.inodes = state.unpacked.inodes;
  layer.boot_id = BootId();
  const Status committed = snapshots.CommitLayer(layer);
  if (committed.code() == StatusCode::kAlreadyExists) return OkStatus();  // its directory is gone
  TRY_STATUS(committed);
  state.directory = 0;
  if (options_.on_committed) options_.on_committed();
  return OkStatus();
}

void LayerBuilder::End(LayerBuildState& state, Status status) {
  if (state.directory != 0) {
    if (!status.ok()) options_.store.snapshots().AbandonLayer(state.directory);
    state.directory = 0;
  }
  g_layers.Add({status.ok()                               ? "ok"
                : status.code() == StatusCode::kCancelled ? "cancelled"
                                                          : "failed"});
  if (!status.ok()) {
    status = status.Annotate("layer " + state.task.blob.digest.ToString());
    if (status.code() != StatusCode::kCancelled) {
      LOG_WARNING("layer failed", {{"chain", state.task.chain.ToString()}, {"error", status}});
    }
  }
  std::vector<std::function<void()>> wakes;
  std::shared_ptr<p2p::Fetch> fetch;
  std::shared_ptr<LayerBuild> parent;
  {
    MutexLock lock(state.mutex);
    state.phase = status.ok() ? BuildPhase::kDone : BuildPhase::kFailed;
    state.status = status;
    wakes.swap(state.wakes);
    if (!status.ok()) fetch = std::move(state.fetch);
    parent = std::move(state.parent);
    state.changed.NotifyAll();
  }
  for (auto& wake : wakes) wake();
}

}  // namespace hearth::plugin
