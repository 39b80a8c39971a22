// The part of the snapshotter that unpacks layers which containerd hands to it.
#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <utility>

#include "base/file.h"
#include "plugin/one_shot.h"
#include "plugin/overlay_snapshotter.h"
#include "plugin/snapshot_names.h"
#include "plugin/unpacker.h"

namespace hearth::plugin {

namespace {

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

// The chain whose layer containerd is about to make there.
std::optional<Digest> ChainOf(const store::SnapshotInfo& active) {
  const auto label = active.labels.find(store::kSnapshotRefLabel);
  const auto chain = Digest::Parse(label == active.labels.end() ? "" : label->second);
  return chain.ok() ? std::optional(*chain) : SnapshotNames::ChainOfUnpack(active.name);
}

}  // namespace

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
  std::optional<store::SnapshotInfo> active;
  if (auto owner = OwnerOf(request.mounts); owner.ok() && options_.builder != nullptr) {
    if (const auto chain = ChainOf(*owner)) {
      build = options_.builder->Find(*chain);
      active = std::move(*owner);
    }
  }
  struct Wait {
    OneShot once;
    std::function<void(Result<Applied>)> done;
    std::optional<std::stop_callback<std::function<void()>>> on_stop;
  };
  const auto wait = std::make_shared<Wait>();
  wait->done = std::move(done);
  const auto work = [this, request = std::move(request), stop, wait, active] {
    if (!wait->once.Fire()) return;
    if (active) {
      const auto layer = LayerFor(*active, request.digest);
      const auto mark = layer ? std::optional(layer->chain) : std::nullopt;
      if (Status marked = MarkAnswered(active->directory, mark); !marked.ok()) {
        return wait->done(std::move(marked));
      }
      if (layer) {
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

std::optional<store::LayerInfo> OverlaySnapshotter::LayerFor(const store::SnapshotInfo& active,
                                                             const std::string& blob) {
  auto& snapshots = options_.store.snapshots();
  const auto layer = snapshots.FindLayer(*ChainOf(active));
  if (!layer.ok() || layer->blob.ToString() != blob) return std::nullopt;
  std::optional<Digest> below;
  if (!active.parent.empty()) {
    const auto parent = snapshots.Stat(active.parent);
    if (parent.ok()) below = parent->chain ? parent->chain : ChainOf(*parent);
    if (!below) return std::nullopt;
  }
  std::error_code error;
  const bool untouched = std::filesystem::is_empty(snapshots.FsPath(active.directory), error);
  if (!untouched || layer->parent_chain != below) return std::nullopt;
  // It must not be evicted before the commit that names it.
  return snapshots.TouchLayer(layer->chain).ok() ? std::optional(*layer) : std::nullopt;
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
