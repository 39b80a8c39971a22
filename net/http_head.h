// The textual parts of HTTP/1.1 that a server writes and takes apart.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "net/http.h"

namespace hearth::net {

// "Not Found"; "" for a status without a registered phrase.
std::string_view ReasonPhrase(int status);

// How the end of an answer is told.
struct Framing {
  std::optional<uint64_t> content_length;
  bool chunked = false;
  bool keep_alive = false;
};

// Status line and fields up to the empty line. Fields that would break the framing (Content-Length,
// Transfer-Encoding, Connection, line breaks) are left out; `date` is the Date field's value.
std::string FormatHead(int status, const HttpHeaders& headers, const Framing& framing,
                       std::string_view date);
// "Tue, 24 Nov 2026 10:32:15 GMT".
std::string HttpDate(int64_t unix_seconds);
// Its seconds; nullopt for anything else, the two obsolete forms too.
std::optional<int64_t> ParseHttpDate(std::string_view text);

struct Target {
  std::string_view path;   // "/a%20b", "*", or "" for CONNECT's authority
  std::string_view query;  // without '?'
};
// Splits origin-form, absolute-form and the rest.
Target SplitTarget(std::string_view target);

}  // namespace hearth::net
