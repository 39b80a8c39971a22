// ImageConfig: what Hearth needs from an image's config document.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "base/digest.h"
#include "base/status.h"
#include "oci/platform.h"

namespace hearth::oci {

inline constexpr uint64_t kMaxConfigBytes = 8 * 1024 * 1024;

struct ImageConfig {
  Platform platform;             // normalised
  std::vector<Digest> diff_ids;  // of the uncompressed layers, lowest first

  // kInvalidArgument says which field is wrong; kResourceExhausted beyond the limit.
  static Result<ImageConfig> Parse(std::string_view bytes);
};

}  // namespace hearth::oci
