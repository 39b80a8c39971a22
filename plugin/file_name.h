// FileName: by what a file of an origin is known: its URL without what signs it, tag, application.
//
// Values; pure. Neither a signature nor userinfo is in what ShownUrl() and TaskId() give out.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "oci/shown_url.h"

namespace hearth::plugin {

struct FileName {
  std::string url;  // as the caller gave it, signature and all
  std::string tag;
  std::string application;
  std::vector<std::string> filter;  // query parameters that name nothing
  // Hashed into the task ID, no part of the name:
  std::optional<uint64_t> piece_length;
  std::string digest;

  // Dragonfly's task ID of the default scheme. kInvalidArgument: no http or https URL.
  Result<std::string> TaskId() const;
  // The URL as a task shows it: filtered, without userinfo.
  Result<std::string> ShownUrl() const;
  // What two URLs of one file have in common once `filter` is applied: host in lower case, no
  // default port, no fragment.
  Result<std::string> Key(const std::vector<std::string>& by_filter) const;
  // Key() without any parameter: where to look for files of the same address.
  Result<std::string> Address() const;
};

using oci::IsFileUrl;
using oci::WithoutSecrets;
using oci::WithoutUserInfo;

// The parameters by which `theirs` and `ours` differ, each once, in order: those whose values are
// not the same after `filter` left out what it names.
std::vector<std::string> DifferingParameters(std::string_view ours, std::string_view theirs,
                                             const std::vector<std::string>& filter);

}  // namespace hearth::plugin
