// ReviewSkew: how far this machine's clock is from a registry's, and what that breaks. Pure.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <string_view>

#include "base/clock.h"
#include "cmd/finding.h"

namespace hearth::cmd {

// An HTTP Date header, "Tue, 15 Nov 1994 08:12:31 GMT"; nullopt for anything else.
std::optional<WallTime> ParseHttpDate(std::string_view text);

// `asked` and `answered`: this clock before and after the answer with `date` of `registry`.
void ReviewSkew(const std::string& registry, WallTime date, WallTime asked, WallTime answered,
                Findings& findings);

}  // namespace hearth::cmd
