#include "plugin/overlay_snapshotter.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <charconv>
#include <utility>

#include "base/file.h"
#include "base/log.h"
#include "base/metrics.h"
#include "plugin/unpacker.h"

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

// Ends a wait once: whichever of build, timer and client comes first.
class OneShot {
 public:
  bool Fire() { return !fired_.exchange(true); }

 private:
  std::atomic<bool> fired_{false};
};

class FileBytes final : public ByteSource {
 public:
  FileBytes(std::shared_ptr<store::Blob> blob, std::stop_token stop)
      : blob_(std::move(blob)), stop_(std::move(stop)) {}
  Result<size_t> Read(std::span<char> out) override {
    const size_t got = TRY(blob_->Read(offset_bytes_, out, stop_));
    offset_bytes_ += got;
    return got;
  }

 private:
  const std::shared_ptr<store::Blob> blob_;
  const std::stop_token stop_;
  uint64_t offset_bytes_ = 0;
};

// For whoever asks why a pull was cold.
void Decided(const PrepareRequest& request, std::string_view decision, std::string_view why = "") {
  LOG_DEBUG("prepare", {{"decision", decision},
                        {"key", request.key},
                        {"parent", request.parent},
                        {"chain", LabelOr(request.labels, store::kSnapshotRefLabel)},
                        {"image", LabelOr(request.labels, kImageRefLabel)},
                        {"why", why}});
}

std::vector<std::filesystem::path> SplitLowers(std::string_view list) {
  std::vector<std::filesystem::path> lowers;
  while (!list.empty()) {
    const size_t colon = list.find(':');
    lowers.emplace_back(list.substr(0, colon));
    if (colon == std::string_view::npos) break;
    list.remove_prefix(colon + 1);
  }
  return lowers;
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
    done(CreateActive(request));
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
    done(CreateActive(request));
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
  const auto finish = [this](const std::shared_ptr<Wait>& ended, bool cancelled) {
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
      ended->done(CreateActive(ended->request));
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

Result<std::vector<Mount>> OverlaySnapshotter::CreateActive(const PrepareRequest& request) {
  const auto snapshot = TRY(options_.store.snapshots().Create(
      store::SnapshotKind::kActive, request.key, request.parent, request.labels));
  {
    MutexLock lock(mutex_);
    actives_[snapshot.directory] = snapshot.name;
  }
  return MountsOf(snapshot);
}

Result<std::vector<Mount>> OverlaySnapshotter::View(const PrepareRequest& request) {
  const auto snapshot = TRY(options_.store.snapshots().Create(
      store::SnapshotKind::kView, request.key, request.parent, request.labels));
  return MountsOf(snapshot);
}

Result<std::vector<Mount>> OverlaySnapshotter::Mounts(const std::string& key) {
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
  if (layer && options_.on_removed) options_.on_removed();
  return OkStatus();
}

Status OverlaySnapshotter::Remove(const std::string& key) {
  auto& snapshots = options_.store.snapshots();
  const auto snapshot = TRY(snapshots.Stat(key));
  TRY_STATUS(snapshots.Remove(key));
  MutexLock lock(mutex_);
  if (snapshot.kind == store::SnapshotKind::kActive) actives_.erase(snapshot.directory);
  if (options_.on_removed) options_.on_removed();
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

Result<store::SnapshotInfo> OverlaySnapshotter::OwnerOf(const std::vector<Mount>& mounts) {
  if (mounts.size() != 1) return NotFound("not one mount");
  std::string upper = mounts[0].type == "bind" ? mounts[0].source : "";
  for (const auto& option : mounts[0].options) {
    if (option.starts_with("upperdir=")) upper = option.substr(sizeof("upperdir=") - 1);
  }
  const std::filesystem::path fs(upper);
  const std::string number = fs.parent_path().filename().string();
  uint64_t directory = 0;
  const auto [end, error] =
      std::from_chars(number.data(), number.data() + number.size(), directory);
  auto& snapshots = options_.store.snapshots();
  if (error != std::errc() || end != number.data() + number.size() ||
      snapshots.FsPath(directory) != fs) {
    return NotFound("mount of " + upper + " is none of ours");
  }
  std::string key;
  {
    MutexLock lock(mutex_);
    const auto active = actives_.find(directory);
    if (active == actives_.end()) return NotFound("no active snapshot at " + upper);
    key = active->second;
  }
  return snapshots.Stat(key);
}

void OverlaySnapshotter::Apply(ApplyRequest request, std::stop_token stop,
                               std::function<void(Result<Applied>)> done) {
  // Where we are unpacking this very layer, wait for it instead of doing it twice.
  std::shared_ptr<LayerBuild> build;
  std::optional<uint64_t> directory;
  Digest chain;
  if (const auto owner = OwnerOf(request.mounts); owner.ok() && options_.builder != nullptr) {
    const auto ref = Digest::Parse(LabelOr(owner->labels, store::kSnapshotRefLabel));
    if (ref.ok()) {
      directory = owner->directory;
      chain = *ref;
      build = options_.builder->Find(chain);
    }
  }
  struct Wait {
    OneShot once;
    std::function<void(Result<Applied>)> done;
    std::optional<std::stop_callback<std::function<void()>>> on_stop;
  };
  const auto wait = std::make_shared<Wait>();
  wait->done = std::move(done);
  const auto work = [this, request = std::move(request), stop, wait, directory, chain] {
    if (!wait->once.Fire()) return;
    if (directory) {
      const auto layer = options_.store.snapshots().FindLayer(chain);
      const bool ready = layer.ok() && layer->blob.ToString() == request.digest;
      const auto mark = ready ? std::optional(chain) : std::nullopt;
      if (Status marked = MarkAnswered(*directory, mark); !marked.ok()) {
        return wait->done(std::move(marked));
      }
      if (ready) {
        wait->done(Applied{layer->diff_id, static_cast<int64_t>(layer->tar_bytes)});
        return;
      }
    }
    wait->done(ApplyHere(request, stop));
  };
  const auto enqueue = [this, work, wait] {
    const Status queued = options_.unpackers.Submit(work);
    if (!queued.ok() && wait->once.Fire()) wait->done(queued);
  };
  if (!build) {
    enqueue();
    return;
  }
  wait->on_stop.emplace(stop, [weak = std::weak_ptr<Wait>(wait)] {
    const auto alive = weak.lock();
    if (alive && alive->once.Fire()) alive->done(Cancelled("the caller went away"));
  });
  build->WhenEnded(enqueue);
}

std::filesystem::path OverlaySnapshotter::AnsweredPath(uint64_t directory) const {
  return options_.store.snapshots().FsPath(directory).parent_path() / "answered";
}

Status OverlaySnapshotter::MarkAnswered(uint64_t directory, const std::optional<Digest>& chain) {
  const auto path = AnsweredPath(directory);
  // No sync: after a power loss containerd's pull is gone too.
  if (chain) {
    const Fd file = TRY(OpenFile(path, O_WRONLY | O_CREAT | O_TRUNC, 0600));
    return WriteAllAt(file.get(), chain->ToString(), 0);
  }
  if (::unlink(path.c_str()) != 0 && errno != ENOENT) {
    return ErrnoStatus(errno, "remove " + path.string());
  }
  return OkStatus();
}

Result<std::optional<Digest>> OverlaySnapshotter::Answered(uint64_t directory) const {
  constexpr uint64_t kMaxBytes = 256;
  const auto text = ReadFile(AnsweredPath(directory), kMaxBytes);
  if (text.status().code() == StatusCode::kNotFound) return std::optional<Digest>();
  if (!text.ok()) return text.status();
  return std::optional<Digest>(TRY(Digest::Parse(*text)));
}

Result<Applied> OverlaySnapshotter::ApplyHere(const ApplyRequest& request, std::stop_token stop) {
  UnpackOptions unpack;
  unpack.compression = TRY(CompressionOf(request.media_type));
  if (request.mounts.size() != 1) {
    return Unimplemented("apply onto " + std::to_string(request.mounts.size()) + " mounts");
  }
  const Mount& mount = request.mounts.front();
  if (mount.type == "bind") {
    unpack.root = mount.source;
    unpack.bottom = true;
  } else if (mount.type == "overlay") {
    for (const auto& option : mount.options) {
      if (option.starts_with("upperdir=")) unpack.root = option.substr(sizeof("upperdir=") - 1);
      if (option.starts_with("lowerdir=")) {
        unpack.lower = SplitLowers(std::string_view(option).substr(sizeof("lowerdir=") - 1));
      }
    }
  }
  if (unpack.root.empty() || !unpack.root.is_absolute()) {
    return Unimplemented("apply onto a mount of type " + mount.type);
  }
  const Digest digest = TRY(Digest::Parse(request.digest));
  FileBytes bytes(TRY(options_.store.blobs().Open(digest)), stop);
  const auto unpacked = TRY(Unpack(bytes, unpack, stop));
  if (request.sync_fs) {
    const Fd root = TRY(OpenFile(unpack.root, O_RDONLY | O_DIRECTORY));
    if (::syncfs(root.get()) < 0) return ErrnoStatus(errno, "sync " + unpack.root.string());
  }
  return Applied{unpacked.diff_id, static_cast<int64_t>(unpacked.tar_bytes)};
}

}  // namespace hearth::plugin
