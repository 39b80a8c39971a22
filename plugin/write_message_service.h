// A serialized WriteContentRequest, read where it lies: up to 16 MiB of data that are not copied,
// so that the bytes stay under the server's memory quota until they are written.
//
// For write_service.cc.
#pragma once

#include <grpcpp/support/byte_buffer.h>

#include "base/status.h"
#include "plugin/write_stream.h"

namespace hearth::plugin {

// The message's data point into `buffer`. kInvalidArgument: not such a message, or an unknown
// action; kOutOfRange: negative offset.
Result<WriteMessage> ReadWriteMessage(grpc::ByteBuffer& buffer);

}  // namespace hearth::plugin
