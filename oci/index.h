// Index: the manifests of one name for several platforms. OCI index, and Docker manifest list.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "oci/descriptor.h"

namespace hearth::oci {

struct Index {
  std::string media_type;
  std::vector<Descriptor> manifests;
  std::map<std::string, std::string> annotations;

  // Errors as Manifest::Parse.
  static Result<Index> Parse(std::string_view bytes, std::string_view media_type);

  // The manifest that runs best on `wanted`, the first of equals; one without a platform only where
  // none matches. kNotFound lists what there is.
  Result<Descriptor> Choose(const Platform& wanted) const;
};

}  // namespace hearth::oci
