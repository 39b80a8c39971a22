// Checks of values that several programs' configs have. Each says what would be right.
#pragma once

#include <string>

#include "base/status.h"

namespace hearth::config {

Status CheckAbsolute(const std::string& path);
Status CheckAbsoluteOrEmpty(const std::string& path);
// The address of "ADDRESS:PORT", without an IPv6 address's brackets.
Result<std::string> ListenHost(const std::string& listen);
Status CheckListen(const std::string& listen);

}  // namespace hearth::config
