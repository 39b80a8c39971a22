// Whether a complete blob's file is still what was committed. Any thread; blocks on the disk.
#pragma once

#include <stop_token>

#include "base/digest.h"
#include "base/status.h"
#include "store/blob_store.h"

namespace hearth::plugin {

// Drops the blob from the store when its file is gone, has another size, or has another mtime or
// ctime than when its bytes were last right and hashes to something else; whoever wants it then
// fetches it anew. True: it was dropped. Costs a stat where nothing changed. Bytes that rot without
// a change of these are `hearth store verify`'s.
Result<bool> DropIfDamaged(store::BlobStore& blobs, const Digest& digest, std::stop_token stop);

}  // namespace hearth::plugin
