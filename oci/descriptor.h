// Descriptor: media type, digest and size of something that a registry keeps.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/digest.h"
#include "oci/platform.h"

namespace hearth::oci {

// A size beyond this in a descriptor is refused as a lie.
inline constexpr uint64_t kMaxDescriptorSizeBytes = uint64_t{1} << 50;

struct Descriptor {
  std::string media_type;
  Digest digest;
  uint64_t size_bytes = 0;
  std::map<std::string, std::string> annotations;
  std::vector<std::string> urls;     // of foreign layers; never fetched by themselves
  std::optional<Platform> platform;  // in an index; normalised

  friend bool operator==(const Descriptor&, const Descriptor&) = default;
};

}  // namespace hearth::oci
