// ReviewSkew: how far this machine's clock is from a registry's, and what that breaks. Pure.
#pragma once

#include <cstdint>
#include <string>

#include "base/clock.h"
#include "cmd/finding.h"

namespace hearth::cmd {

// `asked` and `answered`: this clock before and after the answer with `date` of `registry`, in
// seconds since 1970, which need not fit into a WallTime.
void ReviewSkew(const std::string& registry, int64_t date, WallTime asked, WallTime answered,
                Findings& findings);

}  // namespace hearth::cmd
