// CompleteBlob: verified bytes that will not change.
#pragma once

#include <memory>

#include "store/blob.h"

namespace hearth::store {

// `file` is open for reading and holds `size_bytes`. Any thread.
std::shared_ptr<Blob> MakeCompleteBlob(const Digest& digest, uint64_t size_bytes,
                                       std::shared_ptr<const Fd> file);

}  // namespace hearth::store
