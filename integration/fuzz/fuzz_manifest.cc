// Any bytes as a manifest, an index, an image config, a docker config: read or refused, and never
// both manifest and index.
#include <cstdint>
#include <string_view>

#include "oci/config.h"
#include "oci/credentials.h"
#include "oci/index.h"
#include "oci/manifest.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto manifest = hearth::oci::Manifest::Parse(text, "");
  const auto index = hearth::oci::Index::Parse(text, "");
  CHECK(!(manifest.ok() && index.ok()));
  const auto type = hearth::oci::DocumentMediaType(text, "");
  if (manifest.ok()) CHECK(*type == manifest->media_type);
  if (index.ok()) {
    CHECK(*type == index->media_type);
    (void)index->Choose(hearth::oci::Platform::Host());
  }
  (void)hearth::oci::ImageConfig::Parse(text);
  (void)hearth::oci::DockerConfig::Parse(text);
  return 0;
}
