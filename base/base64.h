// Base64 of RFC 4648 §4, as Basic authorization, docker configs and digest headers write it.
#pragma once

#include <string>
#include <string_view>

#include "base/status.h"

namespace hearth {

std::string EncodeBase64(std::string_view bytes);
// Line ends, blanks and missing padding are let pass. kInvalidArgument for other characters and
// lengths that cannot be; the message does not show the text.
Result<std::string> DecodeBase64(std::string_view text);

}  // namespace hearth
