// FileCheck: asks a file's origin, with the caller's own URL and headers, whether the version that
// we know is its latest and whether this caller may have it.
//
// At most one byte of the body is asked for. Any thread; blocks on the network.
#pragma once

#include <chrono>
#include <optional>
#include <stop_token>
#include <string>

#include "base/status.h"
#include "net/http_client.h"
#include "plugin/file_version.h"

namespace hearth::plugin {

struct FileCheck {
  enum class Verdict : uint8_t {
    kSame,     // the origin grants it, and it is the version that we know
    kChanged,  // granted, but another version, or nothing that would tell
    kRefused,  // the origin answered something else: `refusal`
  };
  Verdict verdict = Verdict::kRefused;
  std::optional<net::HttpResponse> refusal;

  struct Options {
    net::HttpClient& client;
    int max_redirects = 10;
    std::chrono::milliseconds stall_timeout{10'000};
    bool named_by_digest = false;  // the URL says which bytes: only their number is compared
  };
  // `method` is GET or HEAD: a signature may hold for one of them only. Conditions and ranges in
  // `headers` are replaced. Errors: the origin could not be asked (those of HttpClient).
  static Result<FileCheck> Ask(const Options& options, const std::string& method,
                               const std::string& url, const net::HttpHeaders& headers,
                               const FileVersion& known, std::stop_token stop);
};

// Conditions, ranges and encodings are ours to choose where a file goes through the store.
net::HttpHeaders WithoutConditions(net::HttpHeaders headers);

// The rest of a stream that is no file: the origin's refusal with at most kMaxRefusalBytes of body.
class HttpStream;
inline constexpr size_t kMaxRefusalBytes = 64 * 1024;
net::HttpResponse ReadRefusal(HttpStream& stream);

}  // namespace hearth::plugin
