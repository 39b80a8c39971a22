// MirrorPath: what a request to the mirror asks for. Pure.
//
// "/v2/library/nginx/manifests/1.27?ns=docker.io": the registry is in `ns`, as containerd's hosts
// configuration adds it.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "base/digest.h"
#include "base/status.h"

namespace hearth::plugin {

struct MirrorPath {
  enum class Kind : uint8_t { kBase, kManifest, kBlob };
  Kind kind = Kind::kBase;  // kBase: "/v2/", all else is empty
  std::string registry;     // domain, normalised
  std::string repository;
  std::string object;            // tag or digest as text
  std::optional<Digest> digest;  // where the object is one; always set for kBlob

  // `path` and `query` as sent, percent-encoded. `default_registry` stands in for an absent ns; ""
  // = then it is kNotFound. kNotFound: no such endpoint; kInvalidArgument: malformed name;
  // kUnimplemented: sha512.
  static Result<MirrorPath> Parse(std::string_view path, std::string_view query,
                                  std::string_view default_registry);

  // Within the repository: "manifests/1.27"; "" for kBase.
  std::string ObjectPath() const;
};

}  // namespace hearth::plugin
