#include "oci/chain_id.h"

namespace hearth::oci {

Digest ChainId(const Digest& parent, const Digest& diff_id) {
  return Digest::Of(parent.ToString() + " " + diff_id.ToString());
}

std::vector<Digest> ChainIds(std::span<const Digest> diff_ids) {
  std::vector<Digest> chain_ids;
  chain_ids.reserve(diff_ids.size());
  for (const Digest& diff_id : diff_ids) {
    chain_ids.push_back(chain_ids.empty() ? diff_id : ChainId(chain_ids.back(), diff_id));
  }
  return chain_ids;
}

}  // namespace hearth::oci
