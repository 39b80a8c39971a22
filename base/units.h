// Sizes and durations as people write them: "128MiB", "80%", "5s", "24h".
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/status.h"

namespace hearth {

// Digits and nothing else, as in a Content-Length; nullopt also for what 64 bits cannot hold.
std::optional<uint64_t> ParseDecimal(std::string_view text);
// "0", "1024", "128MiB", "1.5GB", "20 GiB": bytes. KB/MB/GB/TB are powers of 1000, KiB… of 1024.
Result<uint64_t> ParseByteSize(std::string_view text);
// "500ms", "5s", "10m", "24h", "7d", "1h30m", "0": Go's form plus days.
Result<std::chrono::nanoseconds> ParseDuration(std::string_view text);
// "1.2 GiB", "340 KiB", "17 B".
std::string FormatByteSize(uint64_t bytes);
// "1.5s", "2m03s", "85ms".
std::string FormatDuration(std::chrono::nanoseconds duration);

}  // namespace hearth
