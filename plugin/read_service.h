// One Content.Read call: a complete blob's bytes, in messages of at most 1 MiB.
//
// containerd unpacks with one call per 32 KiB, so a call costs an index lookup and a pread, and the
// message is put together around the bytes without a copy.
#pragma once

#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/server_callback.h>

#include "base/thread.h"
#include "store/blob_store.h"

namespace hearth::plugin {

// `request` is a serialized ReadContentRequest. kOutOfRange: begins beyond the end; kNotFound: no
// such complete blob. That the client goes away before the end is normal.
grpc::ServerWriteReactor<grpc::ByteBuffer>* StartRead(store::BlobStore& blobs, ThreadPool& workers,
                                                      const grpc::ByteBuffer& request);

}  // namespace hearth::plugin
