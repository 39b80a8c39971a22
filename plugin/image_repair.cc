#include "plugin/image_repair.h"

#include <algorithm>
#include <utility>

#include "oci/config.h"
#include "oci/index.h"
#include "oci/media_type.h"

namespace hearth::plugin {

namespace {

constexpr size_t kMaxOrigins = 8;  // of one blob: each may take its time to refuse

Status NoOrigin() {
  return NotFound(
      "nothing says which registry it came from (import it again, or push it to a registry and "
      "pull it)");
}

}  // namespace

std::vector<oci::Access> ImageRepair::OriginsFor(const Digest& digest) const {
  std::vector<oci::Access> origins = origins_;
  const auto content = ns_.content.find(digest);
  if (content != ns_.content.end()) {
    for (const oci::Access& origin : OriginsOf(content->second)) {
      const bool there = std::any_of(origins.begin(), origins.end(), [&](const auto& one) {
        return one.registry == origin.registry && one.repository == origin.repository;
      });
      if (!there) origins.push_back(origin);
    }
  }
  if (origins.size() > kMaxOrigins) origins.resize(kMaxOrigins);
  return origins;
}

bool ImageRepair::Wanted(const Digest& digest) const {
  return ns_.content.contains(digest) && survey_.Lost(parts_.store, digest);
}

Status ImageRepair::Claim(const Digest& digest) {
  if (!survey_.content_is_ours || !ns_.content.contains(digest)) return OkStatus();
  return parts_.store.blobs().Claim(digest).status();
}

// --- documents ---

Result<std::string> ImageRepair::Document(const Digest& digest, const std::stop_token& stop) {
  if (auto here = parts_.resolver.Read(digest, oci::kMaxManifestBytes); here.ok()) return here;
  const Status copied = CopyFromContainerd(digest, stop);
  if (copied.ok()) return parts_.resolver.Read(digest, oci::kMaxManifestBytes);
  if (copied.code() == StatusCode::kCancelled) return copied;
  Status first = copied.code() == StatusCode::kNotFound ? NoOrigin() : copied;
  bool tried = false;
  for (const oci::Access& origin : OriginsFor(digest)) {
    auto document = parts_.resolver.Load(origin, digest, stop);
    if (document.ok()) {
      TRY_STATUS(parts_.resolver.Keep(digest, document->bytes, stop));
      fetched_bytes_ += document->bytes.size();
      ++fetched_blobs_;
      return document->bytes;
    }
    if (document.status().code() == StatusCode::kCancelled) return document.status();
    if (!std::exchange(tried, true)) first = document.status();
  }
  return first.Annotate("manifest " + digest.ToString());
}

Status ImageRepair::ReadManifests(const ImageRecord& image, const std::stop_token& stop) {
  Named left = {{image.digest, image.media_type}};
  std::set<Digest> seen;
  while (!left.empty()) {
    const auto [digest, media_type] = left.back();
    left.pop_back();
    if (!seen.insert(digest).second) continue;
    const Status read = ReadManifest(digest, media_type, left, stop);
    if (digest == image.digest || read.code() == StatusCode::kCancelled) TRY_STATUS(read);
    // The registry may have dropped one platform; the others run without it.
    Keep(read.Annotate("manifest " + digest.ToString()));
  }
  return OkStatus();
}

Status ImageRepair::ReadManifest(const Digest& digest, const std::string& media_type, Named& left,
                                 const std::stop_token& stop) {
  const std::string bytes = TRY(Document(digest, stop));
  TRY_STATUS(Claim(digest));
  if (!oci::IsIndexType(media_type)) {
    manifests_.emplace_back(digest, TRY(oci::Manifest::Parse(bytes, media_type)));
    return OkStatus();
  }
  for (const auto& one : TRY(oci::Index::Parse(bytes, media_type)).manifests) {
    // Of the platforms that were not pulled containerd names nothing.
    if (ns_.content.contains(one.digest)) left.emplace_back(one.digest, one.media_type);
  }
  return OkStatus();
}

// --- blobs and layers ---

Status ImageRepair::BeginBlob(const oci::Descriptor& blob) {
  Transfer transfer{.blob = blob, .fetch = nullptr, .build = nullptr, .had_bytes = 0};
  transfer.fetch = TRY(parts_.swarm.Fetch(
      {.digest = blob.digest, .size_bytes = blob.size_bytes, .origins = OriginsFor(blob.digest)}));
  transfer.had_bytes = transfer.fetch->blob()->PresentBytes();
  transfers_.push_back(std::move(transfer));
  return OkStatus();
}

Status ImageRepair::CopyFromContainerd(const Digest& digest, const std::stop_token& stop) {
  const auto content = ns_.content.find(digest);
  if (survey_.content_is_ours || content == ns_.content.end()) return NotFound("not containerd's");
  const auto grown = TRY(parts_.store.blobs().Grow(digest, content->second.size_bytes));
  if (grown.writer) {
    uint64_t at = grown.blob->FirstMissing();
    const Status copied = parts_.inventory.ReadContent(
        ns_.name, content->second, at,
        [&](std::span<const char> data) {
          const uint64_t offset = std::exchange(at, at + data.size());
          return grown.blob->Write(offset, data);
        },
        stop);
    if (!copied.ok()) {
      grown.blob->Fail(copied);
      return copied;
    }
  }
  return grown.blob->WaitComplete(stop);
}

Status ImageRepair::BeginLayers(const ImageLayers& image, const std::stop_token& stop) {
  auto& snapshots = parts_.store.snapshots();
  size_t end = 0;  // layers from here on are not missed
  for (size_t i = 0; i < image.layers.size(); ++i) {
    chains_.insert(image.layers[i].chain);
    if (survey_.lost_chains.contains(image.layers[i].chain)) end = i + 1;
  }
  for (size_t i = 0; i < image.layers.size(); ++i) {
    const ImageLayer& layer = image.layers[i];
    if (Wanted(layer.blob.digest)) Keep(BeginBlob(layer.blob));
    if (i >= end || snapshots.FindLayer(layer.chain).ok()) continue;
    auto origins = OriginsFor(layer.blob.digest);
    if (!parts_.store.blobs().Info(layer.blob.digest).ok()) {
      const Status copied = CopyFromContainerd(layer.blob.digest, stop);
      if (copied.code() == StatusCode::kCancelled) return copied;
      if (!copied.ok() && origins.empty()) {
        Keep((copied.code() == StatusCode::kNotFound ? NoOrigin() : copied)
                 .Annotate("layer " + layer.blob.digest.ToString()));
        end = i;  // nothing can be unpacked on what is not here
        continue;
      }
    }
    auto build = parts_.builder.Build({.chain = layer.chain,
                                       .parent_chain = image.ParentChain(i),
                                       .diff_id = layer.diff_id,
                                       .blob = layer.blob,
                                       .origins = std::move(origins)});
    if (!build.ok()) {
      Keep(build.status());
      end = i;
      continue;
    }
    transfers_.push_back(
        {.blob = layer.blob, .fetch = nullptr, .build = std::move(*build), .had_bytes = 0});
  }
  return OkStatus();
}

Status ImageRepair::Begin(const Digest& digest, const oci::Manifest& manifest,
                          const std::stop_token& stop) {
  const oci::Descriptor& config = manifest.config;
  if (!parts_.store.blobs().Info(config.digest).ok()) {
    const Status copied = CopyFromContainerd(config.digest, stop);
    if (copied.code() == StatusCode::kCancelled) return copied;
    if (!copied.ok()) {
      TRY_STATUS(BeginBlob(config));
      Transfer transfer = std::move(transfers_.back());
      transfers_.pop_back();
      TRY_STATUS(Wait(transfer, stop));
    }
  }
  const auto bytes = TRY(parts_.resolver.Read(config.digest, oci::kMaxConfigBytes));
  const auto joined = JoinLayers(digest, manifest, bytes);
  if (joined.ok()) {
    if (!origins_.empty()) TRY_STATUS(parts_.chains.Remember(*joined, origins_.front()));
    return BeginLayers(*joined, stop);
  }
  // No image, or one that we do not unpack: its blobs are all that can be brought.
  for (const auto& layer : manifest.layers) {
    if (Wanted(layer.digest)) Keep(BeginBlob(layer));
  }
  if (oci::IsConfigType(config.media_type)) return joined.status();
  return OkStatus();
}

Status ImageRepair::Wait(Transfer& transfer, const std::stop_token& stop) {
  const auto wait = [&](const auto& work) -> Status {
    while (true) {
      Status status = work(Deadline::After(parts_.progress_interval));
      if (status.code() != StatusCode::kDeadlineExceeded) return status;
      Report();
    }
  };
  if (transfer.build) {
    return wait([&](Deadline tick) { return transfer.build->Wait(stop, tick); });
  }
  TRY_STATUS(wait([&](Deadline tick) {
               return transfer.fetch->WaitComplete(stop, tick);
             }).Annotate("blob " + transfer.blob.digest.ToString()));
  fetched_bytes_ += transfer.blob.size_bytes - transfer.had_bytes;
  ++fetched_blobs_;
  transfer.fetch.reset();
  return Claim(transfer.blob.digest);
}

Status ImageRepair::WaitAll(const std::stop_token& stop) {
  for (Transfer& transfer : transfers_) {
    const Status status = Wait(transfer, stop);
    if (status.code() == StatusCode::kCancelled) return status;
    Keep(status);
    Report();
  }
  return first_error_;
}

void ImageRepair::Report() const {
  uint64_t bytes = fetched_bytes_;
  for (const Transfer& transfer : transfers_) {
    if (!transfer.fetch) continue;
    const uint64_t present = transfer.fetch->blob()->PresentBytes();
    bytes += present - std::min(present, transfer.had_bytes);
  }
  progress_(bytes);
}

Status ImageRepair::Run(const ImageRecord& image, const std::stop_token& stop) {
  TRY_STATUS(ReadManifests(image, stop));
  for (const auto& [digest, manifest] : manifests_) {
    const Status begun = Begin(digest, manifest, stop);
    if (begun.code() == StatusCode::kCancelled) return begun;
    Keep(begun);
  }
  return WaitAll(stop);
}

Status ImageRepair::RunBlob(const ContentRecord& content, const std::stop_token& stop) {
  if (IsDocument(content)) {
    TRY(Document(content.digest, stop));
    return Claim(content.digest);
  }
  oci::Descriptor blob;
  blob.digest = content.digest;
  blob.size_bytes = content.size_bytes;
  TRY_STATUS(BeginBlob(blob));
  return WaitAll(stop);
}

}  // namespace hearth::plugin
