// containerd's Diff service: Apply unpacks with our unpacker, and passes on what that does not
// take. We make no diffs: containerd's own differ, listed behind ours, does that.
#pragma once

#include <memory>
#include <string>

#include "base/thread.h"
#include "plugin/snapshotter.h"

namespace grpc {
class Service;
}

namespace hearth::plugin {

class DiffService {
 public:
  struct Options {
    Snapshotter& snapshotter;
    ThreadPool& workers;                  // every call starts here; outlives the server
    std::string containerd_address = {};  // unix socket; "" = nobody takes what we do not
  };
  explicit DiffService(const Options& options);
  // For net::GrpcServer, which this outlives.
  grpc::Service* service() const { return service_.get(); }

 private:
  const std::shared_ptr<grpc::Service> service_;
};

}  // namespace hearth::plugin
