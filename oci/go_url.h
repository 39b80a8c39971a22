// GoUrl: a URL split and written again as Go's net/url does it, byte for byte.
//
// Dragonfly's manager and scheduler hash what net/url's String() returns, so its quirks count.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/status.h"

namespace hearth::oci {

struct GoUrl {
  std::string scheme;        // lower case
  std::string opaque;        // of "mailto:x": all after the colon
  bool has_user = false;     //
  std::string user;          // re-escaped, with ":password"
  bool omit_host = false;    // "scheme:/path": no "//" between them
  std::string host;          // re-escaped, with ":port"
  std::string path;          // as String() writes it
  bool force_query = false;  // the URL ends in a bare '?'
  std::string query;         // raw, without '?'
  std::string fragment;      // as String() writes it

  // kInvalidArgument where url.Parse returns an error.
  static Result<GoUrl> Parse(std::string_view url);
  std::string ToString() const;
};

// url.ParseQuery without its error: pairs that it refuses (a ';', a bad escape) are left out.
std::vector<std::pair<std::string, std::string>> ParseGoQuery(std::string_view query);
// url.Values.Encode: sorted by name, values of one name in their order, form-escaped.
std::string EncodeGoQuery(std::vector<std::pair<std::string, std::string>> pairs);

}  // namespace hearth::oci
