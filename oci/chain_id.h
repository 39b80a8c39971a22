// Chain IDs: names of stacks of layers (OCI image spec, config §Layer ChainID).
#pragma once

#include <span>
#include <vector>

#include "base/digest.h"

namespace hearth::oci {

// Chain ID of the layer `diff_id` on top of the stack `parent`.
Digest ChainId(const Digest& parent, const Digest& diff_id);
// One per layer; the first is the lowest diff ID itself.
std::vector<Digest> ChainIds(std::span<const Digest> diff_ids);

}  // namespace hearth::oci
