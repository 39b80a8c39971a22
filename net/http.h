// Words of HTTP that client and server share: headers and status codes.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/status.h"

namespace hearth::net {

// Header fields in order of arrival; names compare without case.
class HttpHeaders {
 public:
  HttpHeaders() = default;
  HttpHeaders(std::initializer_list<std::pair<std::string, std::string>> fields)
      : fields_(fields) {}

  // First value of `name`, "" when absent.
  std::string_view Get(std::string_view name) const;
  bool Has(std::string_view name) const;
  // All values of `name` in order.
  std::vector<std::string_view> GetAll(std::string_view name) const;
  void Add(std::string name, std::string value);
  // Replaces every field of that name.
  void Set(std::string name, std::string value);
  void Remove(std::string_view name);

  const std::vector<std::pair<std::string, std::string>>& fields() const { return fields_; }

 private:
  std::vector<std::pair<std::string, std::string>> fields_;
};

// The Content-Length, nullopt where there is none that can be read.
std::optional<uint64_t> ContentLength(const HttpHeaders& headers);

// A Content-Range: "bytes 5-9/10", or "bytes 5-9/*" without a total.
struct ContentRange {
  uint64_t begin_bytes = 0;
  std::optional<uint64_t> total_bytes;

  static std::optional<ContentRange> Parse(std::string_view text);
};

// 404 → kNotFound, 401 → kUnauthenticated, 403 → kPermissionDenied, 408/504 → kDeadlineExceeded,
// 429 → kResourceExhausted, 416 → kOutOfRange, other 4xx → kInvalidArgument, 5xx → kUnavailable.
Status HttpStatusError(int http_status, std::string message);
// The inverse, for edges that answer HTTP.
int HttpStatusFor(StatusCode code);

// Value of one hexadecimal escape sequence text: "a%20b" → "a b"; kInvalidArgument when malformed.
Result<std::string> PercentDecode(std::string_view text);
// Escapes everything but unreserved characters (RFC 3986).
std::string PercentEncode(std::string_view text);
// Decoded value of `name` in a query string "a=1&b=2"; "" when absent.
std::string QueryValue(std::string_view query, std::string_view name);

}  // namespace hearth::net
