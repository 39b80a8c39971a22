// WhatwgUrl: a URL parsed and written again as the WHATWG URL standard does it (Rust's url crate).
//
// Scheme and host in lower case, default port gone, dot segments resolved, unsafe bytes escaped.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/status.h"

namespace hearth::oci {

struct WhatwgUrl {
  std::string scheme;
  std::string authority;  // user:password@host:port, as written
  std::string path;       // "/" at least, where the scheme is http, https or the like
  bool has_query = false;
  std::string query;  // as it came, without '?'
  bool has_fragment = false;
  std::string fragment;     // escaped
  bool empty_path = false;  // the text had no path, "/" was put in

  // kInvalidArgument where the standard says failure; kUnimplemented for hosts beyond ASCII.
  static Result<WhatwgUrl> Parse(std::string_view text);
  std::string ToString() const;
};

// application/x-www-form-urlencoded, in order. Bytes that are no UTF-8 stay as they are.
std::vector<std::pair<std::string, std::string>> ParseFormQuery(std::string_view query);
std::string EncodeFormQuery(const std::vector<std::pair<std::string, std::string>>& pairs);

}  // namespace hearth::oci
