// One Content.Write call: carries messages to a WriteStream and replies back. A stream that waits
// for its client holds no thread.
#pragma once

#include <grpcpp/support/server_callback.h>

#include "plugin/content_service.h"

namespace containerd::services::content::v1 {
class WriteContentRequest;
class WriteContentResponse;
}  // namespace containerd::services::content::v1

namespace hearth::plugin {

grpc::ServerBidiReactor<containerd::services::content::v1::WriteContentRequest,
                        containerd::services::content::v1::WriteContentResponse>*
StartWrite(const ContentService::Options& options);

}  // namespace hearth::plugin
