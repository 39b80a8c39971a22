// Origin: a repository of the upstream registry as a source.
#pragma once

#include <stop_token>
#include <string>

#include "oci/registry.h"
#include "p2p/source.h"

namespace hearth::p2p {

class Origin final : public Source {
 public:
  // `registry` must outlive this.
  Origin(oci::Registry& registry, oci::Access access)
      : registry_(registry), access_(std::move(access)) {}

  std::string name() const override { return access_.registry + "/" + access_.repository; }
  Status Fetch(BlobWriter& into, std::stop_token stop) override;

 private:
  oci::Registry& registry_;
  const oci::Access access_;
};

}  // namespace hearth::p2p
