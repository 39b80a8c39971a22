// Documents are the small blobs that are read whole: manifests, indexes and configs.
#pragma once

#include <cstdint>
#include <string>

#include "base/status.h"
#include "store/blob.h"

namespace hearth::plugin {

// All bytes of a complete blob. kResourceExhausted: more than `limit_bytes`; kDataLoss: its file is
// shorter than it.
Result<std::string> ReadDocument(const store::Blob& blob, uint64_t limit_bytes);

}  // namespace hearth::plugin
