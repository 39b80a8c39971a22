// ProxyRequest: what a client asks of the file proxy. Pure.
//
// Three ways to name a file on the mirror's port: the absolute form of a proxy request
// ("GET http://host/f?Expires=…"), "/file/https/HOST/PATH?…" for clients without a proxy setting,
// and CONNECT, which is a tunnel that nobody looks into.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/status.h"
#include "net/http.h"
#include "plugin/proxy_rules.h"

namespace hearth::plugin {

struct ProxyTarget {
  enum class Kind : uint8_t {
    kNone,     // not for the file proxy
    kUrl,      // absolute form
    kFile,     // /file/SCHEME/HOST/PATH: wanted from the store, whatever the rules say
    kConnect,  // host and port
  };
  static constexpr size_t kMaxUrlBytes = 16 * 1024;
  Kind kind = Kind::kNone;
  std::string url;   // of kUrl and kFile, without fragment
  std::string host;  // lower case, IPv6 without brackets
  uint16_t port = 0;

  // `target` as in the request line. kInvalidArgument: a URL with userinfo, no host or port …
  static Result<ProxyTarget> Parse(std::string_view method, std::string_view target);
};

// X-Dragonfly-* request headers.
struct DragonflyHeaders {
  FileLabels labels;
  bool use_store = false;  // Use-P2P: though no rule matches
  bool prefetch = false;   // a range is asked for, the whole file is wanted in the store

  // kInvalidArgument: a bad value or an unknown header; kUnimplemented: one that is refused on
  // purpose. Both name the header and say why.
  static Result<DragonflyHeaders> Parse(const net::HttpHeaders& headers);
};

// What a proxy passes on: `headers` without those that concern one connection only, without
// X-Dragonfly-* and Host, with Via.
net::HttpHeaders ForwardedHeaders(const net::HttpHeaders& headers, std::string_view via);
// The same for an answer.
net::HttpHeaders ReturnedHeaders(const net::HttpHeaders& headers, std::string_view via);
// Whether the request has been through this proxy already.
bool HasPassed(const net::HttpHeaders& headers, std::string_view via);

}  // namespace hearth::plugin
