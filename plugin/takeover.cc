#include "plugin/takeover.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "base/file.h"
#include "base/log.h"
#include "oci/config.h"
#include "oci/index.h"
#include "oci/manifest.h"
#include "oci/media_type.h"
#include "oci/platform.h"
#include "plugin/document.h"

namespace hearth::plugin {

namespace {

constexpr size_t kBufferBytes = 1 << 20;
constexpr std::chrono::minutes kLeaseLife{10};
constexpr char kSnapshotGcRef[] = "containerd.io/gc.ref.snapshot.";
constexpr mode_t kBlobMode = 0600;

// Goes through the bytes of `from`, writes them to `to` where there is one, and returns their hash.
Result<Digest> HashInto(const Fd& from, const Fd* to, const std::stop_token& stop) {
  Sha256 hash;
  std::string buffer(kBufferBytes, '\0');
  uint64_t offset = 0;
  while (true) {
    if (stop.stop_requested()) return Cancelled("adoption");
    const size_t got = TRY(ReadAt(from.get(), buffer, offset));
    if (got == 0) return hash.Current();
    hash.Update(buffer.data(), got);
    if (to != nullptr) TRY_STATUS(WriteAllAt(to->get(), {buffer.data(), got}, offset));
    offset += got;
  }
}

// Gives the bytes of `from` the name `to` too: shared blocks, else a second name. kCopy = neither
// is possible here and `to` is not there.
//
// A second name is safe: containerd's store writes a blob under ingest/ only, renames it to its
// digest when it is whole, and from then on only unlinks it; and so do we.
Result<TakenBy> ShareFile(const std::filesystem::path& from, const Fd& source,
                          const std::filesystem::path& to) {
  {
    const Fd target = TRY(OpenFile(to, O_WRONLY | O_CREAT | O_TRUNC, kBlobMode));
    if (::ioctl(target.get(), FICLONE, source.get()) == 0) return TakenBy::kReflink;
  }
  if (::unlink(to.c_str()) < 0) return ErrnoStatus(errno, "remove " + to.string());
  if (::link(from.c_str(), to.c_str()) == 0) return TakenBy::kLink;
  if (errno == EXDEV || errno == EPERM || errno == EMLINK || errno == ENOTSUP) {
    return TakenBy::kCopy;
  }
  return ErrnoStatus(errno, "link " + from.string() + " to " + to.string());
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

const char* NameOf(TakenBy how) {
  switch (how) {
    case TakenBy::kThere:
      return "there";
    case TakenBy::kReflink:
      return "reflink";
    case TakenBy::kLink:
      return "link";
    case TakenBy::kCopy:
      return "copy";
  }
  return "";
}

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
    if (!error) missing.push_back({digest, size, TakenBy::kCopy});
    return OkStatus();
  }));
  return missing;
}

Result<BlobTaken> Takeover::Take(const std::filesystem::path& file, const Digest& digest,
                                 std::stop_token stop) {
  auto& blobs = options_.store.blobs();
  if (const auto info = blobs.Claim(digest); info.ok()) {
    return BlobTaken{digest, info->size_bytes, TakenBy::kThere};
  }
  const Fd source = TRY(OpenFile(file, O_RDONLY));
  // The store sweeps this directory at its start: a crash leaves nothing.
  const std::filesystem::path here = options_.store.root() / "ingest" / ("adopt-" + digest.hex());
  const auto take = [&]() -> Result<BlobTaken> {
    BlobTaken taken{digest, TRY(FileSize(source.get())), TakenBy::kCopy};
    taken.how = TRY(ShareFile(file, source, here));
    std::optional<Fd> copy;
    if (taken.how == TakenBy::kCopy) {
      copy.emplace(TRY(OpenFile(here, O_WRONLY | O_CREAT | O_EXCL, kBlobMode)));
    }
    const Digest found = TRY(HashInto(source, copy ? &*copy : nullptr, stop));
    if (found != digest) {
      return DataLoss("its bytes hash to " + found.ToString() +
                      " (remove its image in containerd and pull it again)");
    }
    const Fd shared = TRY(OpenFile(here, O_RDONLY));
    TRY_STATUS(SyncData(shared.get()));
    const auto adopted = blobs.Adopt(here, digest, taken.size_bytes, {});
    if (adopted.status().code() == StatusCode::kAlreadyExists) {
      taken.how = TakenBy::kThere;  // a pull was quicker
      TRY_STATUS(blobs.Claim(digest));
    } else {
      TRY_STATUS(adopted);
    }
    return taken;
  };
  auto taken = take();
  if (!taken.ok() || taken->how == TakenBy::kThere) (void)::unlink(here.c_str());
  return taken;
}

// --- images ---

Status Takeover::EachImage(const OnImage& work,
                           const std::function<void(const ImageTaken&)>& report,
                           std::stop_token stop) {
  for (const std::string& ns : TRY(options_.containerd.ListNamespaces())) {
    for (const ImageRecord& image : TRY(options_.containerd.ListImages(ns))) {
      if (stop.stop_requested()) return Cancelled("adoption");
      ImageTaken taken{ns, image.name, 0, OkStatus()};
      const auto layers = LayersOf(image);
      taken.status = layers.status();
      if (layers.ok()) {
        for (const auto& one : *layers) taken.layers += one.layers.size();
        taken.status = work(ns, *layers);
      }
      if (taken.status.code() == StatusCode::kCancelled) return taken.status;
      report(taken);
    }
  }
  return OkStatus();
}

Result<std::vector<ImageLayers>> Takeover::LayersOf(const ImageRecord& image) const {
  std::vector<ImageLayers> found;
  if (!oci::IsIndexType(image.media_type)) {
    found.push_back(TRY(LayersOfManifest(image.digest, image.media_type)));
    return found;
  }
  const std::string bytes = TRY(Read(image.digest, oci::kMaxManifestBytes));
  const auto index = TRY(oci::Index::Parse(bytes, image.media_type));
  for (const auto& manifest : index.manifests) {
    // Of the platforms that were not pulled, and of attestations, there is nothing to unpack.
    const bool runs = !manifest.platform ||
                      oci::PlatformRank(oci::Platform::Host(), *manifest.platform).has_value();
    if (!runs || !options_.store.blobs().Info(manifest.digest).ok()) continue;
    found.push_back(TRY(LayersOfManifest(manifest.digest, manifest.media_type)));
  }
  if (found.empty()) {
    return NotFound("none of its manifests is in the content store (pull it again)");
  }
  return found;
}

Result<ImageLayers> Takeover::LayersOfManifest(const Digest& digest,
                                               const std::string& media_type) const {
  const std::string bytes = TRY(Read(digest, oci::kMaxManifestBytes));
  const auto manifest = TRY(oci::Manifest::Parse(bytes, media_type));
  return JoinLayers(digest, manifest, TRY(Read(manifest.config.digest, oci::kMaxConfigBytes)));
}

Status Takeover::UnpackImages(const std::function<void(const ImageTaken&)>& report,
                              std::stop_token stop) {
  const auto work = [&](const std::string&, const std::vector<ImageLayers>& images) -> Status {
    for (const auto& image : images) TRY_STATUS(Unpack(image, stop));
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

Status Takeover::RegisterImages(const std::function<void(const ImageTaken&)>& report,
                                std::stop_token stop) {
  const auto work = [&](const std::string& ns, const std::vector<ImageLayers>& images) -> Status {
    const std::string lease = TRY(options_.containerd.CreateLease(ns, kLeaseLife));
    Status status;
    for (const auto& image : images) {
      if (status.ok()) status = Register(ns, image, lease);
    }
    const Status ended = options_.containerd.DeleteLease(ns, lease);
    if (!ended.ok()) LOG_WARNING("lease not deleted, it expires", {{"error", ended}});
    return status;
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
