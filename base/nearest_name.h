// NearestName: what a misspelt key, field or subcommand was meant to be.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace hearth {

// The candidate that is at most two edits away from `word`, and for short words fewer; "" where
// there is none. A word of more than 64 bytes has none.
std::string NearestName(std::string_view word, const std::vector<std::string>& candidates);

}  // namespace hearth
