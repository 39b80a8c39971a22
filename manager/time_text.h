// Times as the API shows them.
#pragma once

#include <string>

#include "base/clock.h"

namespace hearth::manager {

// RFC 3339 in UTC, whole seconds: "2024-04-18T08:51:55Z".
std::string TimeText(WallTime time);

}  // namespace hearth::manager
