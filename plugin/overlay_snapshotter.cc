#include "plugin/overlay_snapshotter.h"

#include <sys/stat.h>

#include <utility>

#include "base/log.h"
#include "base/metrics.h"
#include "plugin/one_shot.h"

namespace hearth::plugin {

namespace {

CounterFamily g_prepares(
    "hearth_prepares_total",
    "Layers that containerd asked for: warm (there already), pulled (fetched and unpacked by us "
    "in time), no_source or late_or_failed (containerd unpacks it).",
    {"outcome"});

constexpr char kImageRefLabel[] = "containerd.io/snapshot/cri.image-ref";
constexpr char kUidMappingLabel[] = "containerd.io/snapshot/uidmapping";
constexpr char kGidMappingLabel[] = "containerd.io/snapshot/gidmapping";

std::string LabelOr(const store::Labels& labels, const char* name) {
  const auto label = labels.find(name);
  return label == labels.end() ? "" : label->second;
}

// "k8s.io/" of "k8s.io/12/extract-…": containerd's metadata store puts the namespace first.
std::string NamespacePrefix(const std::string& key) { return key.substr(0, key.find('/') + 1); }

// Read once: the module parameter exists where the kernel knows the option.
bool KernelHasIndexOption() {
  static const bool has = [] {
    struct stat info {};
    return ::stat("/sys/module/overlay/parameters/index", &info) == 0;
  }();
  return has;
}

// For whoever asks why a pull was cold.
void Decided(const PrepareRequest& request, std::string_view decision, std::string_view why = "") {
  LOG_DEBUG("prepare", {{"decision", decision},
                        {"key", request.key},
                        {"parent", request.parent},
                        {"chain", LabelOr(request.labels, store::kSnapshotRefLabel)},
                        {"image", LabelOr(request.labels, kImageRefLabel)},
                        {"why", why}});
}

}  // namespace

OverlaySnapshotter::OverlaySnapshotter(Options options) : options_(std::move(options)) {
  std::unordered_map<uint64_t, std::string> actives;
  const Status listed = options_.store.snapshots().List([&](const store::SnapshotInfo& info) {
    if (info.kind == store::SnapshotKind::kActive) actives[info.directory] = info.name;
    return true;
  });
  if (!listed.ok()) LOG_ERROR("cannot list snapshots", {{"error", listed}});
  MutexLock lock(mutex_);
  actives_ = std::move(actives);
}

void OverlaySnapshotter::Prepare(PrepareRequest request, std::stop_token stop,
                                 std::function<void(Result<std::vector<Mount>>)> done) {
  if (LabelOr(request.labels, store::kSnapshotRefLabel).empty()) {
    Decided(request, "mounts",
            "no chain is named: for a container, or a client without snapshot.ref");
    Create(store::SnapshotKind::kActive, std::move(request), std::move(stop), std::move(done));
    return;
  }
  if (const auto found = FindLayerFor(request); found.ok()) {
    g_prepares.Add({"warm"});
    Decided(request, "layer is here");
    AnswerExists(request, *found, std::move(done));
    return;
  }
  const auto build = StartPull(request);
  if (!build) {
    g_prepares.Add({"no_source"});
    Decided(request, "mounts", "the layer is not here and cannot be pulled");
    Create(store::SnapshotKind::kActive, std::move(request), std::move(stop), std::move(done));
    return;
  }

  struct Wait {
    OneShot once;
    PrepareRequest request;
    std::function<void(Result<std::vector<Mount>>)> done;
    std::optional<std::stop_callback<std::function<void()>>> on_stop;
  };
  const auto wait = std::make_shared<Wait>();
  wait->request = std::move(request);
  wait->done = std::move(done);
  const auto finish = [this, stop](const std::shared_ptr<Wait>& ended, bool cancelled) {
    if (!ended->once.Fire()) return;
    if (cancelled) {
      ended->done(Cancelled("the caller went away"));
      return;
    }
    if (const auto found = FindLayerFor(ended->request); found.ok()) {
      g_prepares.Add({"pulled"});
      Decided(ended->request, "layer is here", "pulled while it waited");
      AnswerExists(ended->request, *found, std::move(ended->done));
    } else {
      g_prepares.Add({"late_or_failed"});
      Decided(ended->request, "mounts", "the pull failed, or goes on after prepare_wait");
      Create(store::SnapshotKind::kActive, std::move(ended->request), stop, std::move(ended->done));
    }
  };
  const auto timer = options_.timers.At(std::chrono::steady_clock::now() + options_.prepare_wait,
                                        [this, finish, wait] {
                                          // The timer's thread must not touch the disk.
                                          const auto work = [finish, wait] { finish(wait, false); };
                                          if (!options_.workers.Submit(work).ok()) work();
                                        });
  // Weak, or the callback would keep itself alive.
  wait->on_stop.emplace(stop, [finish, weak = std::weak_ptr<Wait>(wait)] {
    if (const auto alive = weak.lock()) finish(alive, true);
  });
  build->WhenEnded([this, finish, timer, wait] {
    options_.timers.Cancel(timer);
    finish(wait, false);
  });
}

Result<store::SnapshotInfo> OverlaySnapshotter::FindLayerFor(const PrepareRequest& request) {
  auto& snapshots = options_.store.snapshots();
  const std::string ref = LabelOr(request.labels, store::kSnapshotRefLabel);
  auto found = snapshots.FindByRef(ref, request.parent, NamespacePrefix(request.key));
  if (found.ok()) return found;
  return snapshots.Alias(TRY(Digest::Parse(ref)), request.parent);
}

void OverlaySnapshotter::AnswerExists(const PrepareRequest& request,
                                      const store::SnapshotInfo& snapshot,
                                      std::function<void(Result<std::vector<Mount>>)> done) {
  const Status answer = AlreadyExists("snapshot " + snapshot.name);
  Result<store::LayerInfo> layer = NotFound("no layer of ours");
  if (options_.adopt && snapshot.chain) {
    layer = options_.store.snapshots().FindLayer(*snapshot.chain);
  }
  if (!layer.ok()) {
    done(answer);
    return;
  }
  const auto once = std::make_shared<OneShot>();
  const auto tell = [once, answer, done = std::move(done)] {
    if (once->Fire()) done(answer);
  };
  const auto timer =
      options_.timers.At(std::chrono::steady_clock::now() + options_.adopt_wait, tell);
  options_.adopt(request.key.substr(0, request.key.find('/')), *layer, [this, timer, tell] {
    options_.timers.Cancel(timer);
    tell();
  });
}

std::shared_ptr<LayerBuild> OverlaySnapshotter::StartPull(const PrepareRequest& request) {
  if (options_.pulls == nullptr) return nullptr;
  const auto chain = Digest::Parse(LabelOr(request.labels, store::kSnapshotRefLabel));
  if (!chain.ok()) {
    Decided(request, "no pull", "the chain is no digest");
    return nullptr;
  }
  if (request.labels.contains(kUidMappingLabel) || request.labels.contains(kGidMappingLabel)) {
    Decided(request, "no pull", "a user-namespace remap wants files of its own");
    return nullptr;
  }
  std::optional<Digest> parent_chain;
  if (!request.parent.empty()) {
    const auto parent = options_.store.snapshots().Stat(request.parent);
    // Under a layer that containerd unpacked itself ours has nothing to be committed on.
    if (!parent.ok() || !parent->chain) {
      Decided(request, "no pull", "the parent is no layer of ours");
      return nullptr;
    }
    parent_chain = parent->chain;
  }
  const auto candidates = options_.chains->Find(*chain, LabelOr(request.labels, kImageRefLabel));
  if (candidates.empty()) Decided(request, "no pull", "no image with this chain came by");
  for (const auto& candidate : candidates) {
    if (candidate.image->ParentChain(candidate.index) != parent_chain) {
      Decided(request, "no pull", "the image that came by has another parent for it");
      continue;
    }
    auto build = options_.pulls->Start(request.key.substr(0, request.key.find('/')), candidate);
    if (build.ok()) return *build;
    LOG_INFO("containerd pulls this layer itself",
             {{"chain", chain->ToString()}, {"reason", build.status()}});
  }
  return nullptr;
}

void OverlaySnapshotter::View(PrepareRequest request, std::stop_token stop,
                              std::function<void(Result<std::vector<Mount>>)> done) {
  Create(store::SnapshotKind::kView, std::move(request), std::move(stop), std::move(done));
}

void OverlaySnapshotter::Mounts(std::string key, std::stop_token stop,
                                std::function<void(Result<std::vector<Mount>>)> done) {
  WhenWhole(
      key, options_.lost_mounts_wait, std::move(stop), [this, key] { return MountsNow(key); },
      std::move(done));
}

void OverlaySnapshotter::WhenWhole(const std::string& name, std::chrono::milliseconds wait,
                                   std::stop_token stop,
                                   std::function<Result<std::vector<Mount>>()> work,
                                   std::function<void(Result<std::vector<Mount>>)> done) {
  if (options_.mender == nullptr || options_.store.snapshots().CheckFiles(name).ok()) {
    return done(work());
  }
  options_.mender->Await(
      name, Deadline::After(wait), stop,
      [this, work = std::move(work), done = std::move(done)](const Status& whole) {
        // What nobody knows is said as ever, by who looks for it.
        if (!whole.ok() && whole.code() != StatusCode::kNotFound) return done(whole);
        const Status queued = options_.workers.Submit([work, done] { done(work()); });
        if (!queued.ok()) done(queued);
      });
}

void OverlaySnapshotter::Create(store::SnapshotKind kind, PrepareRequest request,
                                std::stop_token stop,
                                std::function<void(Result<std::vector<Mount>>)> done) {
  if (request.parent.empty()) return done(CreateNow(kind, request));
  const std::string parent = request.parent;
  WhenWhole(
      parent, options_.lost_prepare_wait, std::move(stop),
      [this, kind, request = std::move(request)] { return CreateNow(kind, request); },
      std::move(done));
}

Result<std::vector<Mount>> OverlaySnapshotter::CreateNow(store::SnapshotKind kind,
                                                         const PrepareRequest& request) {
  const auto snapshot =
      TRY(options_.store.snapshots().Create(kind, request.key, request.parent, request.labels));
  if (kind == store::SnapshotKind::kActive) {
    MutexLock lock(mutex_);
    actives_[snapshot.directory] = snapshot.name;
  }
  return MountsOf(snapshot);
}

Result<std::vector<Mount>> OverlaySnapshotter::MountsNow(const std::string& key) {
  const auto snapshot = TRY(options_.store.snapshots().Stat(key));
  if (snapshot.kind == store::SnapshotKind::kCommitted) {
    return FailedPrecondition("snapshot " + key + " is committed and has no mounts");
  }
  return MountsOf(snapshot);
}

Result<std::vector<Mount>> OverlaySnapshotter::MountsOf(const store::SnapshotInfo& snapshot) {
  auto& snapshots = options_.store.snapshots();
  const bool active = snapshot.kind == store::SnapshotKind::kActive;
  const auto lowers = TRY(snapshots.Lowers(snapshot.name));
  if (lowers.empty() || (!active && lowers.size() == 1)) {
    const auto source = lowers.empty() ? snapshots.FsPath(snapshot.directory) : lowers.front();
    return std::vector<Mount>{{"bind", source.string(), "", {active ? "rw" : "ro", "rbind"}}};
  }
  Mount overlay{"overlay", "overlay", "", {}};
  if (KernelHasIndexOption()) overlay.options.emplace_back("index=off");
  if (active) {
    overlay.options.push_back("workdir=" + snapshots.WorkPath(snapshot.directory).string());
    overlay.options.push_back("upperdir=" + snapshots.FsPath(snapshot.directory).string());
  }
  std::string lowerdir = "lowerdir=";
  for (size_t i = 0; i < lowers.size(); ++i) {
    if (i > 0) lowerdir += ':';
    lowerdir += lowers[i].string();
  }
  overlay.options.push_back(std::move(lowerdir));
  return std::vector<Mount>{std::move(overlay)};
}

Status OverlaySnapshotter::Commit(const std::string& name, const std::string& key,
                                  const store::Labels& labels) {
  auto& snapshots = options_.store.snapshots();
  const auto active = TRY(snapshots.Stat(key));
  std::optional<Digest> layer = TRY(Answered(active.directory));
  const bool must = layer.has_value();
  std::error_code error;
  if (must && !std::filesystem::is_empty(snapshots.FsPath(active.directory), error)) {
    return FailedPrecondition("snapshot " + key + ": written to after Apply, which found layer " +
                              layer->ToString() + " ready (apply it again)");
  }
  if (!layer) {
    const auto chain = Digest::Parse(LabelOr(labels, store::kSnapshotRefLabel));
    if (chain.ok() && snapshots.FindLayer(*chain).ok()) layer = *chain;
  }
  auto committed = snapshots.Commit(name, key, labels, layer);
  // Our layer does not fit this parent: the snapshot keeps the files that containerd wrote.
  if (!committed.ok() && layer && !must &&
      committed.status().code() == StatusCode::kFailedPrecondition) {
    committed = snapshots.Commit(name, key, labels, std::nullopt);
  }
  TRY_STATUS(committed);
  MutexLock lock(mutex_);
  actives_.erase(active.directory);
  if (options_.on_changed) options_.on_changed();
  return OkStatus();
}

Status OverlaySnapshotter::Remove(const std::string& key) {
  auto& snapshots = options_.store.snapshots();
  const auto snapshot = TRY(snapshots.Stat(key));
  TRY_STATUS(snapshots.Remove(key));
  MutexLock lock(mutex_);
  if (snapshot.kind == store::SnapshotKind::kActive) actives_.erase(snapshot.directory);
  if (options_.on_changed) options_.on_changed();
  return OkStatus();
}

Result<store::SnapshotInfo> OverlaySnapshotter::Stat(const std::string& key) {
  return options_.store.snapshots().Stat(key);
}

Result<store::SnapshotInfo> OverlaySnapshotter::UpdateLabels(const std::string& key,
                                                             const store::Labels& labels,
                                                             bool replace) {
  return options_.store.snapshots().UpdateLabels(key, labels, replace);
}

Status OverlaySnapshotter::List(const std::function<bool(const store::SnapshotInfo&)>& visit) {
  return options_.store.snapshots().List(visit);
}

Result<store::SnapshotUsage> OverlaySnapshotter::Usage(const std::string& key) {
  return options_.store.snapshots().Usage(key);
}

Status OverlaySnapshotter::Cleanup(std::stop_token stop) {
  return options_.store.snapshots().Cleanup(std::move(stop));
}

}  // namespace hearth::plugin
