// LayersOfImage: what an image of containerd's consists of, from its documents.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "base/digest.h"
#include "base/status.h"
#include "plugin/chain_index.h"
#include "plugin/containerd_client.h"

namespace hearth::plugin {

// All bytes of a document; kNotFound where it is not there, kResourceExhausted beyond the limit.
using ReadDocumentBytes = std::function<Result<std::string>(const Digest&, uint64_t limit_bytes)>;

// The image's manifests that run here, with their layers. Of the platforms that were not pulled,
// and of attestations, there is nothing to unpack. kNotFound: a document that `read` does not have.
Result<std::vector<ImageLayers>> LayersOfImage(const ImageRecord& image,
                                               const ReadDocumentBytes& read);

}  // namespace hearth::plugin
