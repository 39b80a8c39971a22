// Any text as an image reference or a platform: what is accepted reads the same again.
#include <cstdint>
#include <string_view>

#include "oci/platform.h"
#include "oci/reference.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto reference = hearth::oci::Reference::Parse(text);
  if (reference.ok()) {
    CHECK(*hearth::oci::Reference::Parse(reference->ToString()) == *reference);
    CHECK(hearth::oci::IsRegistryDomain(reference->domain));
    CHECK(hearth::oci::IsRepositoryPath(reference->path));
  }
  const auto platform = hearth::oci::Platform::Parse(text);
  if (platform.ok()) {
    CHECK(*hearth::oci::Platform::Parse(platform->ToString()) == *platform);
    CHECK(hearth::oci::PlatformRank(*platform, *platform) == 0);
  }
  return 0;
}
