// Platform: operating system, architecture and variant of an image, compared as containerd does.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"

namespace hearth::oci {

struct Platform {
  std::string os;            // "linux"
  std::string architecture;  // "amd64", "arm64", "arm"
  std::string variant;       // "v7"; "" for amd64 v1 and arm64 v8
  std::string os_version;

  // "linux/arm64/v8", "linux/arm", "arm64" (this machine's OS), "linux" (this machine's
  // architecture). Normalised. kInvalidArgument for what containerd does not know either.
  static Result<Platform> Parse(std::string_view text);
  // The machine that this runs on.
  static Platform Host();

  // "linux/arm/v7"
  std::string ToString() const;
  // x86_64 → amd64, aarch64 → arm64, macos → darwin; "arm" gets v7, amd64 v1 and arm64 v8 lose it.
  Platform Normalized() const;

  friend bool operator==(const Platform&, const Platform&) = default;
};

// How well an image for `offered` runs where `wanted` is asked for: 0 = best, larger = worse,
// nullopt = not at all. arm v7 takes v7, v6, v5; amd64 v3 takes v3, v2, v1, then 386; arm64 takes
// its own variants, then 32-bit arm.
std::optional<int> PlatformRank(const Platform& wanted, const Platform& offered);

}  // namespace hearth::oci
