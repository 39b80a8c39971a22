#include "plugin/holders.h"

#include <algorithm>

#include "plugin/document.h"
#include "plugin/image_layers.h"

namespace hearth::plugin {

namespace {

constexpr size_t kMaxNamed = 5;

bool Has(const ImageLayers& manifest, const Digest& part) {
  return manifest.manifest == part || manifest.config.digest == part ||
         std::any_of(manifest.layers.begin(), manifest.layers.end(), [&](const auto& layer) {
           return layer.blob.digest == part || layer.chain == part;
         });
}

}  // namespace

std::string JoinHolders(const std::vector<std::string>& holders, const std::string& none) {
  if (holders.empty()) return none;
  std::string text;
  for (size_t i = 0; i < std::min(holders.size(), kMaxNamed); ++i) {
    text += (i == 0 ? "" : ", ") + holders[i];
  }
  if (holders.size() <= kMaxNamed) return text;
  return text + " and " + std::to_string(holders.size() - kMaxNamed) + " more";
}

std::vector<std::string> Holders::Images(const Digest& part) const {
  std::vector<std::string> found;
  if (containerd_ == nullptr) return found;
  const auto namespaces = containerd_->ListNamespaces();
  if (!namespaces.ok()) return found;
  const auto read = [this](const Digest& digest, uint64_t limit) -> Result<std::string> {
    return ReadDocument(*TRY(store_.blobs().Open(digest)), limit);
  };
  for (const std::string& ns : *namespaces) {
    const auto images = containerd_->ListImages(ns);
    if (!images.ok()) continue;
    for (const ImageRecord& image : *images) {
      const auto manifests = LayersOfImage(image, read);
      const bool has = image.digest == part ||
                       (manifests.ok() &&
                        std::any_of(manifests->begin(), manifests->end(),
                                    [&](const auto& manifest) { return Has(manifest, part); }));
      if (has) found.push_back("image " + image.name + " (" + ns + ")");
    }
  }
  return found;
}

std::vector<std::string> Holders::OfBlob(const Digest& digest) const { return Images(digest); }

std::vector<std::string> Holders::OfLayer(const Digest& chain) const {
  auto found = Images(chain);
  if (!found.empty()) return found;
  (void)store_.snapshots().List([&](const store::SnapshotInfo& snapshot) {
    if (snapshot.chain == chain) found.push_back("snapshot " + snapshot.name);
    return true;
  });
  (void)store_.snapshots().ListLayers([&](const store::LayerInfo& layer) {
    if (layer.parent_chain == chain) found.push_back("layer " + layer.chain.ToString());
    return true;
  });
  return found;
}

}  // namespace hearth::plugin
