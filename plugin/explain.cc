#include "plugin/explain.h"

#include <algorithm>
#include <utility>

#include "base/units.h"
#include "oci/config.h"

namespace hearth::plugin {

namespace {

std::optional<WallTime> PinOrNone(WallTime pinned_until) {
  if (ToUnixNanos(pinned_until) == 0) return std::nullopt;
  return pinned_until;
}

}  // namespace

BlobExplanation Explainer::ExplainBlob(const std::string& kind, const Digest& digest,
                                       uint64_t size_bytes) {
  BlobExplanation blob;
  blob.digest = digest;
  blob.kind = kind;
  blob.size_bytes = size_bytes;
  blob.sources = options_.swarm.sources().Of(digest);
  if (const auto info = options_.store.blobs().Info(digest); info.ok()) {
    blob.complete = true;
    blob.present_bytes = info->size_bytes;
    blob.claimed = info->claimed;
    blob.preheated = info->preheated;
    blob.pinned_until = PinOrNone(info->pinned_until);
    return blob;
  }
  blob.reason = "not in the store";
  const Status listed = options_.store.blobs().ListPartial([&](const store::PartialInfo& partial) {
    if (partial.digest != digest) return true;
    blob.present_bytes = partial.present_bytes;
    blob.reason = FormatByteSize(partial.present_bytes) + " of " +
                  FormatByteSize(partial.size_bytes) + " are here, " +
                  (partial.being_fetched ? "the rest is being fetched" : "nobody fetches the rest");
    return false;
  });
  if (!listed.ok()) blob.reason = listed.ToString();
  return blob;
}

LayerExplanation Explainer::ExplainLayer(const ImageLayer& layer) {
  LayerExplanation explained;
  explained.chain = layer.chain;
  explained.diff_id = layer.diff_id;
  explained.blob = layer.blob.digest;
  const auto info = options_.store.snapshots().FindLayer(layer.chain);
  if (info.ok()) {
    explained.unpacked = true;
    explained.preheated = info->preheated;
    explained.pinned_until = PinOrNone(info->pinned_until);
  } else {
    explained.reason =
        info.status().code() == StatusCode::kNotFound ? "not unpacked" : info.status().ToString();
  }
  return explained;
}

Result<Explanation> Explainer::Explain(const std::string& reference,
                                       const std::optional<oci::Platform>& platform,
                                       std::stop_token stop) {
  std::vector<oci::Platform> platforms;
  if (platform) platforms.push_back(*platform);
  const auto image = TRY(options_.resolver.Resolve(reference, platforms, stop));
  const auto& manifest = image.manifests.front();

  Explanation answer;
  answer.reference = image.reference.ToString();
  answer.digest = image.target.digest;
  answer.platform = manifest.platform.ToString();
  if (image.target.digest != manifest.descriptor.digest) {
    answer.blobs.push_back(ExplainBlob("index", image.target.digest, image.target.size_bytes));
  }
  answer.blobs.push_back(
      ExplainBlob("manifest", manifest.descriptor.digest, manifest.bytes.size()));
  const auto& config = manifest.manifest.config;
  answer.blobs.push_back(ExplainBlob("config", config.digest, config.size_bytes));
  for (const auto& layer : manifest.manifest.layers) {
    answer.blobs.push_back(ExplainBlob("layer", layer.digest, layer.size_bytes));
  }
  const bool blobs = std::all_of(answer.blobs.begin(), answer.blobs.end(),
                                 [](const auto& blob) { return blob.complete; });
  if (!blobs) answer.reasons.emplace_back("blobs are missing");

  std::vector<ImageLayers> layers;
  bool unpacked = false;
  if (const auto bytes = options_.resolver.Read(config.digest, oci::kMaxConfigBytes); bytes.ok()) {
    layers.push_back(TRY(JoinLayers(manifest.descriptor.digest, manifest.manifest, *bytes)));
    for (const auto& layer : layers.front().layers) answer.layers.push_back(ExplainLayer(layer));
    unpacked = std::all_of(answer.layers.begin(), answer.layers.end(),
                           [](const auto& layer) { return layer.unpacked; });
  }
  if (!unpacked) answer.reasons.emplace_back("layers are not unpacked");

  bool usable = false;
  if (options_.registrar != nullptr && blobs && unpacked) {
    const auto registered = options_.registrar->IsRegistered(image, layers);
    answer.registered = registered.ok() && *registered;
    usable = registered.ok();
    if (!registered.ok()) answer.reasons.push_back(registered.status().ToString());
  }
  if (blobs) answer.depth = Depth::kBlobs;
  if (blobs && unpacked) answer.depth = Depth::kLayers;
  if (answer.registered) answer.depth = Depth::kImage;
  // A registered image is no condition: the pull of a 2.x registers what it finds unpacked.
  answer.warm = blobs && unpacked && (usable || options_.registrar == nullptr);
  return answer;
}

}  // namespace hearth::plugin
