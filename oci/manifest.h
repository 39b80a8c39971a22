// Manifest: one image, its config and layers. OCI, and Docker schema 2.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "oci/descriptor.h"

namespace hearth::oci {

// As containerd and the registries limit documents.
inline constexpr uint64_t kMaxManifestBytes = 4 * 1024 * 1024;
inline constexpr size_t kMaxDescriptors = 1000;  // layers of a manifest, manifests of an index

struct Manifest {
  std::string media_type;
  Descriptor config;
  std::vector<Descriptor> layers;  // lowest first
  std::map<std::string, std::string> annotations;

  // `media_type` is what the registry said; "" or a type that names no document = find out from the
  // bytes. Unknown fields are ignored. kInvalidArgument says which field is wrong; kUnimplemented
  // for schema 1 and sha512; kResourceExhausted beyond the limits above.
  static Result<Manifest> Parse(std::string_view bytes, std::string_view media_type);
};

// Media type of a manifest or index, from the registry's Content-Type and from the document itself.
// kInvalidArgument where they contradict each other or it is neither; kUnimplemented for schema 1.
Result<std::string> DocumentMediaType(std::string_view bytes, std::string_view content_type);

}  // namespace hearth::oci
