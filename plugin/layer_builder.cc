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
// A download that brings nothing for so long gives its slot to the next layer.
constexpr auto kStall = std::chrono::milliseconds(50);

CounterFamily g_layers("hearth_layers_built_total",
                       "Layers that were unpacked here, by how that ended.", {"result"});
HistogramFamily g_unpack_seconds(
    "hearth_unpack_seconds",
    "Time of one layer from the start of its unpack to its end, waiting for its bytes included.",
    {0.01, 0.05, 0.1, 0.5, 1, 2, 5, 10, 30, 60, 300});

// The growing blob as the unpacker reads it. Parks while the blob stalls.
class BlobBytes final : public ByteSource {
 public:
  BlobBytes(store::Blob& blob, UnpackSlots& slots, std::stop_token stop)
      : blob_(blob), slots_(slots), stop_(std::move(stop)) {}
  Result<size_t> Read(std::span<char> out) override {
    auto got = blob_.Read(offset_bytes_, out, stop_, Deadline::After(kStall));
    if (got.status().code() == StatusCode::kDeadlineExceeded) {
      slots_.Park();
      got = blob_.Read(offset_bytes_, out, stop_);
      slots_.Resume(stop_);
    }
    offset_bytes_ += TRY(got);
    return got;
  }

 private:
  store::Blob& blob_;
  UnpackSlots& slots_;
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
  bool has_slot = true;
  uint64_t directory = 0;
  Unpacked unpacked;

  std::atomic<bool> started = false;  // by its first byte, or by the stop
  std::optional<std::stop_callback<std::function<void()>>> on_stop;  // until it started

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
      slots_({.running = options_.workers,
              .open_growing = options_.workers + options_.stalled,
              .queue_limit = options_.queue_limit}),
      committers_({.name = "commit", .threads = 1, .queue_limit = options_.queue_limit}),
      // One for each build that the slots let be open.
      workers_({.name = "unpack",
                .threads = options_.workers + options_.workers + options_.stalled,
                .queue_limit = options_.queue_limit}) {}

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
  {
    MutexLock lock(mutex_);
    while (waiting_ > 0) started_.Wait(mutex_);
  }
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
  auto& snapshots = options_.store.snapshots();
  // A use: neither it nor what it is to lie on is evicted now.
  const bool there = snapshots.TouchLayer(task.chain).ok();
  if (!there && task.parent_chain) (void)snapshots.TouchLayer(*task.parent_chain);
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
      const bool gone = phase == BuildPhase::kDone && !snapshots.FindLayer(task.chain).ok();
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
    if (waiting_ >= options_.queue_limit) {
      return ResourceExhausted(std::to_string(waiting_) + " layers wait for their blobs");
    }
    ++waiting_;
    entry = build;
    std::erase_if(builds_, [](const auto& item) { return item.second.expired(); });
  }
  StartWhenReady(build->state_);
  return build;
}

void LayerBuilder::StartWhenReady(const std::shared_ptr<LayerBuildState>& state) {
  // Neither the blob nor the stop may reach us once both have: see Stop().
  const auto once = [this, weak = std::weak_ptr(state)] {
    const auto alive = weak.lock();
    if (alive && !alive->started.exchange(true)) Start(alive);
  };
  if (const auto blob = state->Blob()) blob->WhenAvailable(0, once);
  state->on_stop.emplace(state->stop.get_token(), once);
}

void LayerBuilder::Start(const std::shared_ptr<LayerBuildState>& state) {
  const auto blob = state->Blob();
  Status queued = Cancelled("nobody waits for the layer any more");
  if (blob && !state->stop.stop_requested()) {
    const bool growing = blob->state() == store::Blob::State::kGrowing;
    queued = slots_.Enqueue(growing, [this, state, growing] {
      const Status given = workers_.Submit([this, state, growing] {
        Unpack(state);
        state->has_slot ? slots_.End(growing) : slots_.EndParked(growing);
      });
      if (given.ok()) return;
      End(*state, given);
      slots_.End(growing);
    });
  }
  // Not here, inside of what the blob or the dropped build is doing.
  const auto end = [this, state, queued] { End(*state, queued); };
  if (!queued.ok() && !committers_.Submit(end).ok()) end();
  // The last touch of ours: Stop() may wait for it.
  MutexLock lock(mutex_);
  --waiting_;
  started_.NotifyAll();
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
  BlobBytes bytes(*blob, slots_, stop);
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
  if (status.ok()) status = AwaitBlob(state, *blob);
  if (!status.ok()) {
    snapshots.AbandonLayer(state.directory);
    state.directory = 0;
    return status;
  }
  state.unpacked = std::move(*unpacked);
  return OkStatus();
}

// Its digest and its sync are other threads' work: meanwhile the next layer unpacks.
Status LayerBuilder::AwaitBlob(LayerBuildState& state, store::Blob& blob) {
  const auto stop = state.stop.get_token();
  if (blob.state() != store::Blob::State::kGrowing) return blob.WaitComplete(stop);
  slots_.Park();
  state.has_slot = false;
  Status complete = blob.WaitComplete(stop);
  if (!complete.ok()) {  // it may be tried again
    slots_.Resume(stop);
    state.has_slot = true;
  }
  return complete;
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
