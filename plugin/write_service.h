// One Content.Write call: carries messages to a WriteStream and replies back. A stream that waits
// for its client holds no thread.
//
// For content_service.cc.
#pragma once

#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/server_callback.h>

#include "plugin/content_service.h"

namespace hearth::plugin {

grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>* StartWrite(
    const ContentService::Options& options);

}  // namespace hearth::plugin
