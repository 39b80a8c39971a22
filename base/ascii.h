// ASCII text as protocols compare it: no locale, other bytes stay as they are.
#pragma once

#include <string>
#include <string_view>

namespace hearth {

std::string AsciiLower(std::string_view text);
// Without blanks and tabs at both ends.
std::string_view TrimBlanks(std::string_view text);

}  // namespace hearth
