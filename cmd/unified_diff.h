// UnifiedDiff: what changes from one text to another, as `diff -u` shows it.
#pragma once

#include <optional>
#include <string>

namespace hearth::cmd {

// "" where both are equal. Absent texts stand as /dev/null.
std::string UnifiedDiff(const std::string& path, const std::optional<std::string>& before,
                        const std::optional<std::string>& after);

}  // namespace hearth::cmd
