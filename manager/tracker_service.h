// TrackerService: hearth.v1.Tracker, the nodes' streams. It carries messages between gRPC and the
// TrackerHub and knows nothing of what they mean.
#pragma once

#include <memory>

#include "manager/tracker_hub.h"

namespace grpc {
class Service;
}

namespace hearth::manager {

// `hub` must outlive it.
std::shared_ptr<grpc::Service> MakeTrackerService(TrackerHub& hub);

}  // namespace hearth::manager
