// What files of /proc say. The readers of text are pure.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/status.h"

namespace hearth::cmd {

// The start of a file that has no size beforehand.
Result<std::string> ReadProcessFile(const std::string& path);

// The soft limit in /proc/PID/limits.
std::optional<uint64_t> MaxOpenFiles(std::string_view limits);
// Whether /proc/filesystems has this one.
bool HasFileSystem(std::string_view filesystems, std::string_view name);

}  // namespace hearth::cmd
