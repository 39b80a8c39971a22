#include "oci/media_type.h"

#include <algorithm>
#include <array>
#include <string>

namespace hearth::oci {

namespace {

constexpr std::array<std::string_view, 10> kLayerTypes = {
    kOciLayer,
    kOciLayerGzip,
    kOciLayerZstd,
    "application/vnd.oci.image.layer.nondistributable.v1.tar",
    "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
    "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd",
    kDockerLayer,
    kDockerLayerGzip,
    "application/vnd.docker.image.rootfs.foreign.diff.tar",
    "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
};
// Not in Docker's specification, but buildkit pushes it and containerd reads it.
constexpr std::string_view kDockerLayerZstd = "application/vnd.docker.image.rootfs.diff.tar.zstd";

}  // namespace

bool IsIndexType(std::string_view media_type) {
  return media_type == kOciIndex || media_type == kDockerList;
}

bool IsManifestType(std::string_view media_type) {
  return media_type == kOciManifest || media_type == kDockerManifest;
}

bool IsSchema1Type(std::string_view media_type) {
  return media_type == "application/vnd.docker.distribution.manifest.v1+json" ||
         media_type == "application/vnd.docker.distribution.manifest.v1+prettyjws";
}

bool IsConfigType(std::string_view media_type) {
  return media_type == kOciConfig || media_type == kDockerConfig;
}

bool IsLayerType(std::string_view media_type) {
  return media_type == kDockerLayerZstd ||
         std::find(kLayerTypes.begin(), kLayerTypes.end(), media_type) != kLayerTypes.end();
}

Compression LayerCompression(std::string_view media_type) {
  if (!IsLayerType(media_type)) return Compression::kNone;
  if (media_type.ends_with("gzip")) return Compression::kGzip;
  if (media_type.ends_with("zstd")) return Compression::kZstd;
  return Compression::kNone;
}

std::string_view ManifestAccept() {
  static const std::string accept = std::string(kDockerManifest) + ", " + std::string(kDockerList) +
                                    ", " + std::string(kOciManifest) + ", " +
                                    std::string(kOciIndex) + ", */*";
  return accept;
}

std::string_view WithoutParameters(std::string_view content_type) {
  content_type = content_type.substr(0, content_type.find(';'));
  while (content_type.ends_with(' ')) content_type.remove_suffix(1);
  while (content_type.starts_with(' ')) content_type.remove_prefix(1);
  return content_type;
}

}  // namespace hearth::oci
