// Media types of registry documents and layers (OCI image spec, Docker image manifest V2).
#pragma once

#include <string_view>

namespace hearth::oci {

inline constexpr std::string_view kOciIndex = "application/vnd.oci.image.index.v1+json";
inline constexpr std::string_view kOciManifest = "application/vnd.oci.image.manifest.v1+json";
inline constexpr std::string_view kOciConfig = "application/vnd.oci.image.config.v1+json";
inline constexpr std::string_view kOciLayer = "application/vnd.oci.image.layer.v1.tar";
inline constexpr std::string_view kOciLayerGzip = "application/vnd.oci.image.layer.v1.tar+gzip";
inline constexpr std::string_view kOciLayerZstd = "application/vnd.oci.image.layer.v1.tar+zstd";
inline constexpr std::string_view kDockerList =
    "application/vnd.docker.distribution.manifest.list.v2+json";
inline constexpr std::string_view kDockerManifest =
    "application/vnd.docker.distribution.manifest.v2+json";
inline constexpr std::string_view kDockerConfig = "application/vnd.docker.container.image.v1+json";
inline constexpr std::string_view kDockerLayer = "application/vnd.docker.image.rootfs.diff.tar";
inline constexpr std::string_view kDockerLayerGzip =
    "application/vnd.docker.image.rootfs.diff.tar.gzip";

enum class Compression { kNone, kGzip, kZstd };

// Each takes a media type without parameters.
bool IsIndexType(std::string_view media_type);
bool IsManifestType(std::string_view media_type);
// Docker schema 1 in either form, which Hearth refuses.
bool IsSchema1Type(std::string_view media_type);
bool IsConfigType(std::string_view media_type);
// A file system layer that the unpacker reads: OCI or Docker, also non-distributable ("foreign").
// Encrypted layers are none.
bool IsLayerType(std::string_view media_type);
// As the name of the layer type says; kNone for other types. The unpacker looks at the bytes too.
Compression LayerCompression(std::string_view media_type);

// The Accept header of a manifest request.
std::string_view ManifestAccept();
// "text/html; charset=utf-8" → "text/html"
std::string_view WithoutParameters(std::string_view content_type);

}  // namespace hearth::oci
