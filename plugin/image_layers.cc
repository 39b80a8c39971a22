#include "plugin/image_layers.h"

#include "oci/config.h"
#include "oci/index.h"
#include "oci/manifest.h"
#include "oci/media_type.h"
#include "oci/platform.h"

namespace hearth::plugin {

namespace {

Result<ImageLayers> LayersOfManifest(const Digest& digest, std::string_view bytes,
                                     const std::string& media_type, const ReadDocumentBytes& read) {
  const auto manifest = TRY(oci::Manifest::Parse(bytes, media_type));
  return JoinLayers(digest, manifest, TRY(read(manifest.config.digest, oci::kMaxConfigBytes)));
}

}  // namespace

Result<std::vector<ImageLayers>> LayersOfImage(const ImageRecord& image,
                                               const ReadDocumentBytes& read) {
  const std::string bytes = TRY(read(image.digest, oci::kMaxManifestBytes));
  std::vector<ImageLayers> found;
  if (!oci::IsIndexType(image.media_type)) {
    found.push_back(TRY(LayersOfManifest(image.digest, bytes, image.media_type, read)));
    return found;
  }
  const auto index = TRY(oci::Index::Parse(bytes, image.media_type));
  for (const auto& manifest : index.manifests) {
    const bool runs = !manifest.platform ||
                      oci::PlatformRank(oci::Platform::Host(), *manifest.platform).has_value();
    if (!runs) continue;
    const auto document = read(manifest.digest, oci::kMaxManifestBytes);
    if (document.status().code() == StatusCode::kNotFound) continue;
    TRY_STATUS(document);
    found.push_back(TRY(LayersOfManifest(manifest.digest, *document, manifest.media_type, read)));
  }
  if (found.empty()) {
    return NotFound("none of its manifests is in the content store (pull it again)");
  }
  return found;
}

}  // namespace hearth::plugin
