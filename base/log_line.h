// LogLine: one event of the log as a line of text or of JSON, whatever strangers put into it.
//
// Pure functions. The line has no line break and no control character, neither C0 nor C1 nor those
// that turn the direction of text, and is valid UTF-8: such characters come out as \n, \u202e, and
// bytes that are no UTF-8 as \xff. A text over kMaxLogTextBytes is cut, and says how long it was.
#pragma once

#include <string>
#include <string_view>

#include "base/log.h"

namespace hearth {

inline constexpr size_t kMaxLogTextBytes = 4096;

// `message key=value key="value of words"`
std::string LogTextLine(std::string_view message, LogFields fields);
// `"message":"…","key":"value","number":1`: members of an object, without its braces.
std::string LogJsonMembers(std::string_view message, LogFields fields);

// `text` as it may stand on a terminal: as above, a backslash doubled so that it cannot be taken
// for one of ours. Cut like the rest.
std::string Printable(std::string_view text);
// At most so many bytes of `text`, never a part of a character of UTF-8.
std::string_view CutText(std::string_view text, size_t max_bytes);

}  // namespace hearth
