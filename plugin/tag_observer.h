// TagObserver: who wants to hear what a tag means, as its registry just told the node itself.
#pragma once

#include <string>

#include "oci/descriptor.h"
#include "oci/registry.h"

namespace hearth::plugin {

class TagObserver {
 public:
  virtual ~TagObserver() = default;
  // `origin` was asked as the node. On the resolving thread; must not block for long.
  virtual void OnResolved(const oci::Access& origin, const std::string& tag,
                          const oci::Descriptor& target) = 0;
};

}  // namespace hearth::plugin
