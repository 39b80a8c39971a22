#include "plugin/containerd_call.h"

#include <utility>

#include "base/units.h"
#include "net/grpc.h"

namespace hearth::plugin {

Status EndedCall(const grpc::Status& ended, const std::string& address, const std::string& what,
                 std::chrono::milliseconds limit) {
  Status status = net::FromGrpc(ended);
  if (status.code() == StatusCode::kDeadlineExceeded) {
    status = Unavailable("no answer within " + FormatDuration(limit) + " (is containerd running?)");
  }
  return status.Annotate("containerd at " + address + ": " + what);
}

ContainerdCall::ContainerdCall(Options options, const std::stop_token& stop)
    : options_(std::move(options)), on_stop_(stop, Cancel{&context_}) {
  context_.set_deadline(std::chrono::system_clock::now() + options_.limit);
  context_.set_wait_for_ready(true);
  if (!options_.containerd_namespace.empty()) {
    context_.AddMetadata(kNamespaceHeader, options_.containerd_namespace);
  }
  if (!options_.lease.empty()) context_.AddMetadata(kLeaseHeader, options_.lease);
}

}  // namespace hearth::plugin
