#include "plugin/unpreheat.h"

#include <algorithm>
#include <utility>

#include "oci/config.h"
#include "oci/index.h"
#include "oci/manifest.h"
#include "oci/media_type.h"

namespace hearth::plugin {

void Unpreheater::Add(const Digest& digest, Parts& parts) const {
  const auto bytes = resolver_.Read(digest, oci::kMaxManifestBytes);
  if (!bytes.ok()) return;
  // A type in the descriptor counts more than the document's own; here there is none.
  if (const auto index = oci::Index::Parse(*bytes, ""); index.ok()) {
    parts.blobs.insert(digest);
    for (const auto& manifest : index->manifests) Add(manifest.digest, parts);
    return;
  }
  const auto manifest = oci::Manifest::Parse(*bytes, "");
  if (!manifest.ok()) return;
  parts.blobs.insert(digest);
  parts.blobs.insert(manifest->config.digest);
  for (const auto& layer : manifest->layers) parts.blobs.insert(layer.digest);
  const auto config = resolver_.Read(manifest->config.digest, oci::kMaxConfigBytes);
  if (!config.ok()) return;
  const auto layers = JoinLayers(digest, *manifest, *config);
  if (!layers.ok()) return;
  parts.layers.insert(parts.layers.end(), layers->layers.begin(), layers->layers.end());
}

Result<Unpreheater::Parts> Unpreheater::Others(const std::set<Digest>& without) const {
  std::vector<Digest> documents;
  TRY_STATUS(store_.blobs().List([&](const store::BlobInfo& blob) {
    if (blob.preheated && blob.size_bytes <= oci::kMaxManifestBytes &&
        !without.contains(blob.digest)) {
      documents.push_back(blob.digest);
    }
    return true;
  }));
  Parts others;
  for (const Digest& document : documents) Add(document, others);
  return others;
}

Status Unpreheater::DropLayers(const Parts& parts, const Parts& others, std::set<Digest>& needed,
                               Unpreheated& done) const {
  // Highest first: what a layer lies on may go after it.
  for (auto layer = parts.layers.rbegin(); layer != parts.layers.rend(); ++layer) {
    const auto info = store_.snapshots().FindLayer(layer->chain);
    if (!info.ok()) continue;
    const bool shared = std::any_of(others.layers.begin(), others.layers.end(),
                                    [&](const auto& one) { return one.chain == layer->chain; });
    if (shared) {
      ++done.shared;
      continue;
    }
    if (TRY(store_.snapshots().DropPreheatOfLayer(layer->chain))) {
      ++done.layers;
      done.freed_bytes += info->disk_bytes;
      continue;
    }
    ++done.used;
    // A power loss may take its files; then it is made of its blob again.
    if (!info->durable) needed.insert(info->blob);
  }
  return OkStatus();
}

Status Unpreheater::DropBlobs(const Parts& parts, const Parts& others,
                              const std::set<Digest>& needed, Unpreheated& done) const {
  for (const Digest& digest : parts.blobs) {
    const auto info = store_.blobs().Info(digest);
    if (!info.ok()) continue;
    if (others.blobs.contains(digest)) {
      ++done.shared;
    } else if (!info->claimed && needed.contains(digest)) {
      ++done.used;
    } else if (TRY(store_.blobs().DropPreheat(digest))) {
      ++done.blobs;
      done.freed_bytes += info->size_bytes;
    } else {
      ++done.used;
    }
  }
  return OkStatus();
}

Result<Unpreheated> Unpreheater::Run(const std::string& reference, std::stop_token stop) {
  const auto image = TRY(resolver_.Resolve(reference, {}, std::move(stop)));
  Unpreheated done;
  done.reference = image.reference.ToString();
  done.digest = image.target.digest;
  Parts parts;
  Add(image.target.digest, parts);
  const bool preheated =
      std::any_of(parts.blobs.begin(), parts.blobs.end(), [this](const Digest& digest) {
        const auto info = store_.blobs().Info(digest);
        return info.ok() && info->preheated;
      });
  if (!preheated) {
    return NotFound(done.reference + ", now " + done.digest.ToString() +
                    ", is not preheated here (a tag may have moved since: name it by its digest)");
  }
  const Parts others = TRY(Others(parts.blobs));
  std::set<Digest> needed;
  TRY_STATUS(DropLayers(parts, others, needed, done));
  TRY_STATUS(DropBlobs(parts, others, needed, done));
  return done;
}

}  // namespace hearth::plugin
