// containerd's Snapshots service over a Snapshotter. Translation only.
#pragma once

#include <memory>

#include "base/thread.h"
#include "plugin/snapshot_names.h"
#include "plugin/snapshotter.h"

namespace grpc {
class Service;
}

namespace hearth::plugin {

class SnapshotService {
 public:
  struct Options {
    Snapshotter& snapshotter;
    ThreadPool& workers;             // Usage and Cleanup, which walk trees; outlives the server
    ThreadPool& quick;               // all others, which containerd's locks wait for; the same
    SnapshotNames* names = nullptr;  // sees every Stat
  };
  explicit SnapshotService(const Options& options);
  // For net::GrpcServer, which this outlives.
  grpc::Service* service() const { return service_.get(); }

 private:
  const std::shared_ptr<grpc::Service> service_;
};

}  // namespace hearth::plugin
