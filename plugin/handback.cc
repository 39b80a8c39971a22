#include "plugin/handback.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <utility>

#include "base/file.h"
#include "base/units.h"
#include "plugin/image_layers.h"
#include "store/disk.h"

namespace hearth::plugin {

namespace {

// Deleted when an image is unpacked; this long only where we were killed meanwhile.
constexpr std::chrono::hours kLeaseLife{24};
constexpr mode_t kBlobMode = 0444;          // as containerd's own
constexpr uint64_t kSpareBytes = 64 << 20;  // left to whoever else writes meanwhile
constexpr uint64_t kGuessedGrowth = 3;      // of a layer whose size unpacked we do not know
constexpr char kTemporary[] = ".hearth-";

std::filesystem::path BlobPath(const std::filesystem::path& content_root, const Digest& digest) {
  return content_root / "blobs" / "sha256" / digest.hex();
}

// By its size: whoever put it there had verified it.
bool IsThere(const std::filesystem::path& content_root, const ContentRecord& blob) {
  std::error_code error;
  return std::filesystem::file_size(BlobPath(content_root, blob.digest), error) ==
             blob.size_bytes &&
         !error;
}

// What a run that was killed left behind. containerd looks into blobs/ and ingest/ only.
void SweepTemporaries(const std::filesystem::path& content_root) {
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(content_root, error)) {
    if (entry.path().filename().string().starts_with(kTemporary)) {
      (void)::unlink(entry.path().c_str());
    }
  }
}

}  // namespace

const char* NameOf(ImageGiven::State state) {
  switch (state) {
    case ImageGiven::State::kUnpacked:
      return "unpacked";
    case ImageGiven::State::kToUnpack:
      return "to_unpack";
    case ImageGiven::State::kLeft:
      return "left_to_containerd";
    case ImageGiven::State::kIncomplete:
      return "incomplete";
    case ImageGiven::State::kFailed:
      return "failed";
  }
  return "";
}

// --- what there is to do ---

Result<std::vector<ImageGiven>> Handback::Survey(const Target& target,
                                                 const std::stop_token& stop) const {
  std::vector<ImageGiven> images;
  for (const std::string& ns : TRY(options_.containerd.ListNamespaces())) {
    for (ImageRecord& record : TRY(options_.containerd.ListImages(ns))) {
      if (stop.stop_requested()) return Cancelled("handing back");
      ImageGiven image{.containerd_namespace = ns,
                       .image = std::move(record),
                       .manifests = {},
                       .state = ImageGiven::State::kLeft,
                       .reason = "",
                       .unpack_bytes = 0,
                       .lacks_layers = false};
      const Status status = SurveyOne(image, target, stop);
      if (status.code() == StatusCode::kCancelled || status.code() == StatusCode::kUnavailable) {
        return status;
      }
      if (!status.ok()) {
        // What we cannot read, nobody could run with us either.
        image.state = ImageGiven::State::kIncomplete;
        image.reason = status.message();
      }
      images.push_back(std::move(image));
    }
  }
  return images;
}

Status Handback::SurveyOne(ImageGiven& image, const Target& target,
                           const std::stop_token& stop) const {
  const std::string& ns = image.containerd_namespace;
  image.manifests = TRY(LayersOfImage(image.image, [&](const Digest& digest, uint64_t limit) {
    return options_.client.ReadContent(ns, digest, limit, stop);
  }));
  auto& containerd = options_.containerd;
  for (const ImageLayers& manifest : image.manifests) {
    if (manifest.layers.empty()) continue;
    const std::string top = manifest.layers.back().chain.ToString();
    if (TRY(containerd.HasSnapshot(ns, options_.built_in_snapshotter, top))) {
      if (image.state == ImageGiven::State::kLeft) image.state = ImageGiven::State::kUnpacked;
      continue;
    }
    // Once containerd runs without us it knows no such snapshotter.
    const auto ours = containerd.HasSnapshot(ns, options_.snapshotter, top);
    const bool unpacked = ours.status().code() == StatusCode::kInvalidArgument ? false : TRY(ours);
    for (const ImageLayer& layer : manifest.layers) {
      const bool readable = TRY(Readable(ns, layer.blob.digest));
      if (!readable && !std::filesystem::exists(BlobPath(target.content_root, layer.blob.digest))) {
        image.state = unpacked ? ImageGiven::State::kFailed : ImageGiven::State::kIncomplete;
        image.reason = "its layer " + layer.blob.digest.ToString() +
                       " is in no content store (pull it again, or remove it)";
        return OkStatus();
      }
      if (!TRY(containerd.HasContent(ns, layer.blob.digest))) image.lacks_layers = true;
      const auto there =
          containerd.HasSnapshot(ns, options_.built_in_snapshotter, layer.chain.ToString());
      if (TRY(there)) continue;
      const auto known = options_.store.snapshots().FindLayer(layer.chain);
      image.unpack_bytes += known.ok() ? known->disk_bytes : layer.blob.size_bytes * kGuessedGrowth;
    }
    if (unpacked && target.unpack) image.state = ImageGiven::State::kToUnpack;
  }
  return OkStatus();
}

Result<bool> Handback::Readable(const std::string& ns, const Digest& digest) const {
  if (options_.store.blobs().Info(digest).ok()) return true;
  // Of our content store, its metadata may outlive the bytes.
  const auto byte = options_.client.ReadContent(ns, digest, 0, {});
  if (byte.ok() || byte.status().code() == StatusCode::kResourceExhausted) return true;
  if (byte.status().code() == StatusCode::kNotFound) return false;
  return byte.status();
}

Result<std::vector<BlobGiven>> Handback::Missing(const Target& target,
                                                 const std::stop_token& stop) const {
  std::vector<BlobGiven> missing;
  if (!target.content) return missing;
  std::set<Digest> seen;
  for (const std::string& ns : TRY(options_.containerd.ListNamespaces())) {
    for (const ContentRecord& blob : TRY(options_.inventory.Content(ns, stop))) {
      if (!seen.insert(blob.digest).second || IsThere(target.content_root, blob)) continue;
      missing.push_back({blob.digest, blob.size_bytes, SharedBy::kCopy});
    }
  }
  return missing;
}

Status Handback::CheckSpace(const Target& target, const std::vector<ImageGiven>& images,
                            const std::vector<BlobGiven>& blobs) const {
  uint64_t need = 0;
  // Layers that images share are counted once for each: rather too much than too little.
  for (const ImageGiven& image : images) {
    if (image.state == ImageGiven::State::kToUnpack) need += image.unpack_bytes;
  }
  const auto where = target.content_root.parent_path();
  if (!CanShare(where, options_.store.root())) {
    for (const BlobGiven& blob : blobs) need += blob.size_bytes;
  }
  if (need == 0) return OkStatus();
  const uint64_t free = TRY(store::RealDisk().FreeBytes(where));
  if (need + kSpareBytes <= free) return OkStatus();
  return ResourceExhausted("handing back takes " + FormatByteSize(need) + " in " + where.string() +
                           ", where " + FormatByteSize(free) +
                           " are free (remove images, or say --no-unpack to leave unpacking to "
                           "containerd's first use of each image)");
}

// --- layers ---

Status Handback::WorkOn(ImageGiven& image, const std::stop_token& stop,
                        const std::function<Status(const std::string& lease)>& work) {
  const Status status =
      UnderLease(options_.containerd, image.containerd_namespace, kLeaseLife, work);
  if (stop.stop_requested()) return Cancelled("handing back");
  if (status.code() == StatusCode::kUnavailable || status.ok()) return status;
  image.state = ImageGiven::State::kFailed;
  image.reason = status.message();
  return OkStatus();
}

Status Handback::Unpack(ImageGiven& image, const std::stop_token& stop) {
  return WorkOn(image, stop, [&](const std::string& lease) -> Status {
    for (const ImageLayers& manifest : image.manifests) {
      TRY_STATUS(UnpackManifest(image, manifest, lease, stop));
    }
    image.state = ImageGiven::State::kUnpacked;
    return OkStatus();
  });
}

Status Handback::GiveLayers(ImageGiven& image, const std::stop_token& stop) {
  return WorkOn(image, stop, [&](const std::string& lease) -> Status {
    for (const ImageLayers& manifest : image.manifests) {
      for (const ImageLayer& layer : manifest.layers) {
        TRY_STATUS(GiveLayer(image.containerd_namespace, lease, layer, stop));
      }
    }
    return OkStatus();
  });
}

Status Handback::UnpackManifest(const ImageGiven& image, const ImageLayers& manifest,
                                const std::string& lease, const std::stop_token& stop) {
  if (manifest.layers.empty()) return OkStatus();
  const std::string& ns = image.containerd_namespace;
  auto& containerd = options_.containerd;
  for (size_t i = 0; i < manifest.layers.size(); ++i) {
    const ImageLayer& layer = manifest.layers[i];
    TRY_STATUS(GiveLayer(ns, lease, layer, stop));
    const std::string chain = layer.chain.ToString();
    if (TRY(containerd.HasSnapshot(ns, options_.built_in_snapshotter, chain))) continue;
    TRY_STATUS(options_.client.UnpackLayer({.containerd_namespace = ns,
                                            .lease = lease,
                                            .snapshotter = options_.built_in_snapshotter,
                                            .layer = layer,
                                            .parent_chain = manifest.ParentChain(i)},
                                           stop));
  }
  // While the lease still holds them: from then on the image does.
  return containerd.LabelBlob(
      ns, manifest.config.digest,
      {{kSnapshotGcRef + options_.built_in_snapshotter, manifest.layers.back().chain.ToString()}});
}

Status Handback::GiveLayer(const std::string& ns, const std::string& lease, const ImageLayer& layer,
                           const std::stop_token& stop) {
  auto& containerd = options_.containerd;
  if (TRY(containerd.HasContent(ns, layer.blob.digest))) return OkStatus();
  ContentToAdopt adopt{.digest = layer.blob.digest,
                       .size_bytes = layer.blob.size_bytes,
                       .ref = "handback-" + layer.blob.digest.ToString(),
                       .labels = {{"containerd.io/uncompressed", layer.diff_id.ToString()}}};
  const Status adopted = containerd.AdoptContent(ns, lease, adopt);
  if (adopted.code() != StatusCode::kFailedPrecondition) return adopted;
  // The ingest that was given up holds its name for a moment.
  adopt.ref = "handback-bytes-" + layer.blob.digest.ToString();
  const auto blob = TRY(options_.store.blobs().Open(layer.blob.digest));
  return options_.client.WriteContent(ns, lease, adopt, *blob, stop);
}

// --- blobs ---

Status Handback::GiveBlobs(const Target& target,
                           const std::function<void(const BlobGiven&)>& report,
                           const std::stop_token& stop) {
  const auto missing = TRY(Missing(target, stop));
  if (missing.empty()) return OkStatus();
  TRY_STATUS(MakeDirectories(target.content_root / "blobs" / "sha256"));
  SweepTemporaries(target.content_root);
  for (const BlobGiven& blob : missing) {
    const auto given = Give(target.content_root, blob, stop);
    // Of an image that is not whole with us either; Survey() names those that matter.
    if (given.status().code() == StatusCode::kNotFound) continue;
    report(TRY(given));
  }
  TRY_STATUS(SyncDirectory(target.content_root / "blobs" / "sha256"));
  return OkStatus();
}

Result<BlobGiven> Handback::Give(const std::filesystem::path& content_root, const BlobGiven& blob,
                                 const std::stop_token& stop) {
  if (stop.stop_requested()) return Cancelled("handing back");
  const auto ours = TRY(options_.store.blobs().Open(blob.digest));
  const std::filesystem::path here = content_root / (kTemporary + blob.digest.hex());
  const auto path = BlobPath(content_root, blob.digest);
  const auto shared = ShareBlob(*ours->file(), here, blob.digest, kBlobMode, stop);
  if (shared.status().code() == StatusCode::kDataLoss) {
    return DataLoss("blob " + blob.digest.ToString() + ": " + shared.status().message() +
                    " (run: hearth store verify --repair, then pull its image again)");
  }
  TRY_STATUS(shared);
  if (::rename(here.c_str(), path.c_str()) < 0) {
    const Status status = ErrnoStatus(errno, "rename " + here.string() + " to " + path.string());
    (void)::unlink(here.c_str());
    return status;
  }
  return BlobGiven{blob.digest, blob.size_bytes, *shared};
}

// --- after the switch ---

Status Handback::Release(const std::vector<ImageGiven>& images, bool tell) {
  for (const ImageGiven& image : images) {
    const std::string& ns = image.containerd_namespace;
    for (const ImageLayers& manifest : image.manifests) {
      TRY_STATUS(options_.containerd.LabelBlob(ns, manifest.config.digest,
                                               {{kSnapshotGcRef + options_.snapshotter, ""}}));
    }
    if (!tell) continue;
    const Status told = options_.containerd.TouchImage(ns, image.image.name);
    if (told.code() != StatusCode::kNotFound) TRY_STATUS(told);
  }
  return OkStatus();
}

}  // namespace hearth::plugin
