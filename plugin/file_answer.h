// FileAnswer: status and headers of an answer with a file that we have, or are getting. Pure.
#pragma once

#include <cstdint>
#include <optional>

#include "net/http_server.h"
#include "plugin/byte_range.h"
#include "plugin/file_version.h"

namespace hearth::plugin {

struct FileAnswer {
  // Status 200, 206, 304 or 416, the file's headers, and the length of the body; no body.
  net::ServerResponse response;
  std::optional<ByteRange> range;  // of 206
  bool has_body = false;

  // `total_bytes` none = not known yet: then there are no ranges. Judges Range, If-Range,
  // If-None-Match and If-Modified-Since of `asked`.
  static FileAnswer To(const net::HttpHeaders& asked, const FileVersion& version,
                       std::optional<uint64_t> total_bytes);
};

// Conditions that only the origin should judge: If-Match and If-Unmodified-Since.
bool HasPreconditions(const net::HttpHeaders& asked);
// Where the body that is asked for begins: 0 for a whole file, UINT64_MAX for its last bytes.
uint64_t RangeBegin(const net::HttpHeaders& asked);

}  // namespace hearth::plugin
