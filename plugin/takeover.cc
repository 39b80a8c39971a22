#include "plugin/takeover.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "base/ascii.h"
#include "base/file.h"
#include "base/log.h"
#include "base/units.h"
#include "plugin/blob_check.h"
#include "plugin/document.h"
#include "plugin/image_layers.h"
#include "store/disk.h"

namespace hearth::plugin {

namespace {

// Deleted when an image is registered; this long only where we were killed meanwhile.
constexpr std::chrono::hours kLeaseLife{24};
constexpr mode_t kBlobMode = 0600;
// Below containerd's root; what it answers as its UUID.
constexpr const char* kUuidFile = "io.containerd.grpc.v1.introspection/uuid";
constexpr uint64_t kMaxUuidBytes = 4096;
constexpr uint64_t kGuessedGrowth = 3;  // of a layer whose size unpacked nobody knows

std::filesystem::path BlobPath(const std::filesystem::path& content_root, const Digest& digest) {
  return content_root / "blobs" / "sha256" / digest.hex();
}

// Visits the digests of files below root/blobs/sha256. OK when there is no such directory.
Status WalkContent(
    const std::filesystem::path& content_root,
    const std::function<Status(const std::filesystem::path&, const Digest&)>& visit) {
  const std::filesystem::path blobs = content_root / "blobs" / "sha256";
  std::error_code error;
  std::filesystem::directory_iterator it(blobs, error);
  if (error == std::errc::no_such_file_or_directory) return OkStatus();
  for (; !error && it != std::filesystem::directory_iterator(); it.increment(error)) {
    const auto digest = Digest::Parse("sha256:" + it->path().filename().string());
    if (digest.ok()) TRY_STATUS(visit(it->path(), *digest));
  }
  return error ? ErrnoStatus(error.value(), "list " + blobs.string()) : OkStatus();
}

}  // namespace

// --- blobs ---

Status Takeover::TakeBlobs(const std::filesystem::path& content_root,
                           const std::function<void(const BlobTaken&)>& report,
                           std::stop_token stop) {
  return WalkContent(content_root, [&](const auto& file, const Digest& digest) -> Status {
    if (stop.stop_requested()) return Cancelled("adoption");
    const auto taken = Take(file, digest, stop);
    if (taken.ok()) {
      report(*taken);
    } else if (taken.status().code() != StatusCode::kNotFound) {
      return taken.status().Annotate("adopt " + file.string());
    }
    return OkStatus();
  });
}

Result<std::vector<BlobTaken>> Takeover::Missing(const std::filesystem::path& content_root) const {
  std::vector<BlobTaken> missing;
  TRY_STATUS(WalkContent(content_root, [&](const auto& file, const Digest& digest) -> Status {
    if (options_.store.blobs().Info(digest).ok()) return OkStatus();
    std::error_code error;
    const uint64_t size = std::filesystem::file_size(file, error);
    if (!error) missing.push_back({digest, size, SharedBy::kCopy});
    return OkStatus();
  }));
  return missing;
}

Result<BlobTaken> Takeover::Take(const std::filesystem::path& file, const Digest& digest,
                                 std::stop_token stop) {
  auto& blobs = options_.store.blobs();
  if (const auto info = blobs.Claim(digest); info.ok()) {
    return BlobTaken{digest, info->size_bytes, SharedBy::kThere};
  }
  const Fd source = TRY(OpenFile(file, O_RDONLY));
  // The store sweeps this directory at its start: a crash leaves nothing.
  const std::filesystem::path here = options_.store.root() / "ingest" / ("adopt-" + digest.hex());
  const auto take = [&]() -> Result<BlobTaken> {
    BlobTaken taken{digest, TRY(FileSize(source.get())), SharedBy::kCopy};
    const auto shared = ShareBlob(source, here, digest, kBlobMode, stop);
    if (shared.status().code() == StatusCode::kDataLoss) {
      return DataLoss(shared.status().message() +
                      " (remove its image in containerd and pull it again)");
    }
    taken.how = TRY(std::move(shared));
    const auto adopted = blobs.Adopt(here, digest, taken.size_bytes, {});
    if (adopted.status().code() == StatusCode::kAlreadyExists) {
      taken.how = SharedBy::kThere;  // a pull was quicker
      TRY_STATUS(blobs.Claim(digest));
    } else {
      TRY_STATUS(adopted);
    }
    return taken;
  };
  auto taken = take();
  if (!taken.ok() || taken->how == SharedBy::kThere) (void)::unlink(here.c_str());
  return taken;
}

Result<bool> Takeover::ReadsFromUsAlone(const std::filesystem::path& content_root) {
  // The store that will lose its names must be that of the containerd which is asked: another one
  // on this machine may still read from it.
  const auto kept = ReadFile(content_root.parent_path() / kUuidFile, kMaxUuidBytes);
  if (!kept.ok() || TrimBlanks(*kept) != TRY(options_.containerd.Server()).uuid) {
    LOG_WARNING("the built-in store keeps its blobs: it is of another containerd than answers",
                {{"content_root", content_root.string()}});
    return false;
  }
  if (!TRY(options_.containerd.HasPlugin(kContentType, kContentPlugin))) return false;
  return !TRY(options_.containerd.HasPlugin(kContentType, "content"));
}

Result<size_t> Takeover::DropBuiltInBlobs(const std::filesystem::path& content_root,
                                          std::stop_token stop) {
  if (!TRY(ReadsFromUsAlone(content_root))) return size_t{0};
  size_t dropped = 0;
  Status first;
  TRY_STATUS(WalkContent(content_root, [&](const auto& file, const Digest& digest) -> Status {
    if (stop.stop_requested()) return Cancelled("adoption");
    const Status status = DropBuiltInBlob(file, digest, stop);
    if (status.ok()) {
      ++dropped;
    } else if (status.code() != StatusCode::kNotFound && first.ok()) {
      first = status.Annotate("drop " + file.string() + " of containerd's own store");
    }
    return OkStatus();
  }));
  TRY_STATUS(first);
  return dropped;
}

// Ours is on disk, file, name and record, before it is in the index at all; a power loss may take
// back no more than the claim of one that was here before, which the mender renews.
Status Takeover::DropBuiltInBlob(const std::filesystem::path& file, const Digest& digest,
                                 const std::stop_token& stop) {
  auto& blobs = options_.store.blobs();
  // A record without its file, or with another's bytes, gives nothing back.
  if (TRY(DropIfDamaged(blobs, digest, stop))) TRY_STATUS(Take(file, digest, stop));
  if (TRY(IsOnlyName(file, digest))) {
    // Our own went, and the file that we have open is this one.
    TRY_STATUS(blobs.Remove(digest));
    TRY_STATUS(Take(file, digest, stop));
  }
  const store::BlobInfo info = TRY(blobs.Claim(digest));
  if (::unlink(file.c_str()) < 0) return ErrnoStatus(errno, "unlink");
  // A name less moves the ctime, after which it would be hashed once more.
  const auto blob = blobs.Open(digest);
  if (!blob.ok()) return OkStatus();
  const auto times = store::FileTimesOf(*(*blob)->file());
  if (times.ok() && times->written == info.file.written) (void)blobs.NoteRight(digest, *times);
  return OkStatus();
}

Result<bool> Takeover::IsOnlyName(const std::filesystem::path& file, const Digest& digest) {
  const auto blob = TRY(options_.store.blobs().Open(digest));
  struct stat named {};
  struct stat ours {};
  if (::lstat(file.c_str(), &named) < 0) return ErrnoStatus(errno, "look at it");
  if (::fstat(blob->file()->get(), &ours) < 0) return ErrnoStatus(errno, "look at ours");
  return named.st_dev == ours.st_dev && named.st_ino == ours.st_ino && ours.st_nlink < 2;
}

// --- room ---

Result<RoomNeeded> Takeover::Needs(const std::filesystem::path& content_root,
                                   std::stop_token stop) const {
  RoomNeeded needed;
  needed.free_bytes = TRY(store::RealDisk().FreeBytes(options_.store.root()));
  if (!CanShare(content_root, options_.store.root())) {
    for (const BlobTaken& blob : TRY(Missing(content_root))) needed.copy_bytes += blob.size_bytes;
  }
  const auto read = [&](const Digest& digest, uint64_t limit_bytes) -> Result<std::string> {
    if (options_.store.blobs().Info(digest).ok()) return Read(digest, limit_bytes);
    return ReadFile(BlobPath(content_root, digest), limit_bytes);
  };
  std::set<Digest> seen;
  for (const std::string& ns : TRY(options_.containerd.ListNamespaces())) {
    for (const ImageRecord& image : TRY(options_.containerd.ListImages(ns))) {
      if (stop.stop_requested()) return Cancelled("adoption");
      const auto manifests = LayersOfImage(image, read);
      if (!manifests.ok()) continue;  // nor can it be unpacked, which says why
      for (const ImageLayers& manifest : *manifests) {
        needed.unpack_bytes += TRY(UnpackedBytes(ns, manifest, content_root, seen));
      }
    }
  }
  return needed;
}

Result<uint64_t> Takeover::UnpackedBytes(const std::string& ns, const ImageLayers& image,
                                         const std::filesystem::path& content_root,
                                         std::set<Digest>& seen) const {
  uint64_t bytes = 0;
  for (const ImageLayer& layer : image.layers) {
    if (!seen.insert(layer.chain).second) continue;
    // One that is there must not go for the sake of the others.
    if (options_.store.snapshots().TouchLayer(layer.chain).ok()) continue;
    if (!IsHere(content_root, layer.blob.digest)) break;  // nothing is unpacked on it
    bytes += TRY(UnpackedBytes(ns, layer));
  }
  return bytes;
}

bool Takeover::IsHere(const std::filesystem::path& content_root, const Digest& blob) const {
  std::error_code error;
  return options_.store.blobs().Info(blob).ok() ||
         std::filesystem::exists(BlobPath(content_root, blob), error);
}

Result<uint64_t> Takeover::UnpackedBytes(const std::string& ns, const ImageLayer& layer) const {
  const auto bytes =
      options_.containerd.SnapshotBytes(ns, options_.built_in_snapshotter, layer.chain.ToString());
  if (bytes.ok() || bytes.status().code() == StatusCode::kUnavailable) return bytes;
  return layer.blob.size_bytes * kGuessedGrowth;
}

Status Takeover::CheckRoom(const RoomNeeded& needed, std::stop_token stop) const {
  if (needed.total_bytes() == 0) return OkStatus();
  return options_.collector.CheckRoom(needed.total_bytes(), std::move(stop))
      .Annotate("adopting takes " + FormatByteSize(needed.total_bytes()) + " in " +
                options_.store.root().string() + " (" + FormatByteSize(needed.copy_bytes) +
                " of blobs to copy, " + FormatByteSize(needed.unpack_bytes) +
                " of layers to unpack), where " + FormatByteSize(needed.free_bytes) + " are free");
}

Status Takeover::MakeRoom(const RoomNeeded& needed, std::stop_token stop) {
  if (needed.total_bytes() == 0) return OkStatus();
  TRY_STATUS(CheckRoom(needed, stop));
  return options_.collector.MakeRoom(needed.total_bytes(), std::move(stop));
}

// --- images ---

Status Takeover::EachImage(const OnImage& work,
                           const std::function<void(const ImageTaken&)>& report,
                           std::stop_token stop) {
  for (const std::string& ns : TRY(options_.containerd.ListNamespaces())) {
    for (const ImageRecord& image : TRY(options_.containerd.ListImages(ns))) {
      if (stop.stop_requested()) return Cancelled("adoption");
      ImageTaken taken{ns, image.name, 0, OkStatus()};
      const auto layers = LayersOfImage(
          image, [this](const Digest& digest, uint64_t limit) { return Read(digest, limit); });
      taken.status = layers.status();
      if (layers.ok()) {
        for (const auto& one : *layers) taken.layers += one.layers.size();
        taken.status = work(ns, image, *layers);
      }
      if (taken.status.code() == StatusCode::kCancelled) return taken.status;
      report(taken);
    }
  }
  return OkStatus();
}

Status Takeover::UnpackImages(const std::function<void(const ImageTaken&)>& report,
                              std::stop_token stop) {
  const auto work = [&](const std::string&, const ImageRecord&,
                        const std::vector<ImageLayers>& manifests) -> Status {
    for (const auto& manifest : manifests) TRY_STATUS(Unpack(manifest, stop));
    return OkStatus();
  };
  return EachImage(work, report, stop);
}

Status Takeover::Unpack(const ImageLayers& image, const std::stop_token& stop) {
  std::vector<std::shared_ptr<LayerBuild>> builds;
  for (size_t i = 0; i < image.layers.size(); ++i) {
    const ImageLayer& layer = image.layers[i];
    if (options_.store.snapshots().FindLayer(layer.chain).ok()) continue;
    if (!options_.store.blobs().Info(layer.blob.digest).ok()) {
      return NotFound("its layer " + layer.blob.digest.ToString() +
                      " is not in the content store (pull it again)");
    }
    builds.push_back(TRY(options_.builder.Build({.chain = layer.chain,
                                                 .parent_chain = image.ParentChain(i),
                                                 .diff_id = layer.diff_id,
                                                 .blob = layer.blob,
                                                 .origins = {}})));
  }
  for (const auto& build : builds) TRY_STATUS(build->Wait(stop));
  return OkStatus();
}

Status Takeover::RegisterImages(const std::function<void(const ImageTaken&)>& report, bool tell,
                                std::stop_token stop) {
  const auto work = [&](const std::string& ns, const ImageRecord& image,
                        const std::vector<ImageLayers>& manifests) -> Status {
    const auto take = [&](const std::string& lease) -> Status {
      for (const auto& manifest : manifests) TRY_STATUS(Register(ns, manifest, lease));
      return OkStatus();
    };
    TRY_STATUS(UnderLease(options_.containerd, ns, kLeaseLife, take));
    if (!tell) return OkStatus();
    const Status told = options_.containerd.TouchImage(ns, image.name);
    return told.code() == StatusCode::kNotFound ? OkStatus() : told;  // removed meanwhile
  };
  return EachImage(work, report, stop);
}

Status Takeover::Register(const std::string& ns, const ImageLayers& image,
                          const std::string& lease) {
  if (image.layers.empty()) return OkStatus();
  for (size_t i = 0; i < image.layers.size(); ++i) {
    TRY_STATUS(options_.containerd.AdoptSnapshot(ns, lease, options_.snapshotter,
                                                 image.layers[i].chain, image.ParentChain(i)));
  }
  // While the lease still holds them: from then on the image does.
  return options_.containerd.LabelBlob(
      ns, image.config.digest,
      {{kSnapshotGcRef + options_.snapshotter, image.layers.back().chain.ToString()}});
}

Result<std::string> Takeover::Read(const Digest& digest, uint64_t limit_bytes) const {
  const auto blob = TRY(options_.store.blobs().Open(digest).Annotate(
      "document " + digest.ToString() + ", which is not in the content store (pull it again)"));
  return ReadDocument(*blob, limit_bytes);
}

}  // namespace hearth::plugin
