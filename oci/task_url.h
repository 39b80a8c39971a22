// How Dragonfly rewrites a URL before hashing it into a task ID: three rules that differ.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"

namespace hearth::oci {

// Signature and expiry parameters of object stores, and containerd's "ns": what Dragonfly strips
// where a request names no filter of its own.
const std::vector<std::string>& DefaultFilteredQueryParams();
// "a&b" → {"a", "b"}; "" → {}.
std::vector<std::string> ParseFilteredQueryParams(std::string_view text, char separator = '&');

// Go (manager and scheduler): nothing is touched without a filter; else the remaining parameters
// are sorted and form-escaped. kInvalidArgument where Go's net/url refuses the URL.
Result<std::string> FilterUrlLikeGo(std::string_view url, const std::vector<std::string>& filter);
// Rust clients up to 1.5.1: the URL as WHATWG writes it, parameters in their order.
Result<std::string> FilterUrlLikeClient151(std::string_view url,
                                           const std::vector<std::string>& filter);
// Rust client 1.5.10: parameters as Go, the rest as WHATWG but for an empty path.
Result<std::string> FilterUrlLikeClient1510(std::string_view url,
                                            const std::vector<std::string>& filter);

}  // namespace hearth::oci
