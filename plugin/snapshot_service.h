// containerd's Snapshots service over a Snapshotter. Translation only.
#pragma once

#include <memory>

#include "base/thread.h"
#include "plugin/snapshotter.h"

namespace grpc {
class Service;
}

namespace hearth::plugin {

class SnapshotService {
 public:
  struct Options {
    Snapshotter& snapshotter;
    ThreadPool& workers;  // every call runs here; outlives the server
  };
  explicit SnapshotService(const Options& options);
  // For net::GrpcServer, which this outlives.
  grpc::Service* service() const { return service_.get(); }

 private:
  const std::shared_ptr<grpc::Service> service_;
};

}  // namespace hearth::plugin
