// DiffClient: hands a layer that we do not unpack to the differs that containerd lists behind ours.
//
// containerd's diff service goes on to the next differ by itself; its transfer service, which asks
// one differ alone, does not, and would fail a pull of, say, an encrypted layer that containerd has
// a processor for. Any thread; holds none while containerd unpacks.
#pragma once

#include <functional>
#include <memory>
#include <stop_token>
#include <string>

#include "base/status.h"

namespace grpc {
class Channel;
}
namespace containerd::services::diff::v1 {
class ApplyRequest;
class ApplyResponse;
}  // namespace containerd::services::diff::v1

namespace hearth::plugin {

class DiffClient {
 public:
  // `address`: containerd's unix socket.
  explicit DiffClient(std::string address);

  // True for a layer that comes back from containerd's diff service: ours again is not the answer.
  static bool Passed(const containerd::services::diff::v1::ApplyRequest& request);

  // Has containerd apply the layer, in namespace `ns`; `done` is called once, from any thread, with
  // its error or after `response` was filled in. Both outlive the call, which ends early with
  // kCancelled.
  void Apply(const std::string& ns, const containerd::services::diff::v1::ApplyRequest& request,
             containerd::services::diff::v1::ApplyResponse* response, const std::stop_token& stop,
             std::function<void(Status)> done);

 private:
  const std::string address_;
  const std::shared_ptr<grpc::Channel> channel_;
};

}  // namespace hearth::plugin
