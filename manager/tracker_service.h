// TrackerService: hearth.v1.Tracker, the nodes' streams. It carries messages between gRPC and the
// TrackerHub and knows nothing of what they mean.
#pragma once

#include <memory>

#include "manager/tracker_hub.h"

namespace grpc {
class Service;
}

namespace hearth::manager {

// Waiting for a node that reads slowly; beyond it the stream is closed and the node comes again.
inline constexpr size_t kMaxQueuedMessages = 4096;
inline constexpr size_t kMaxQueuedBytes = 4 << 20;

// `hub` must outlive it.
std::shared_ptr<grpc::Service> MakeTrackerService(TrackerHub& hub);

}  // namespace hearth::manager
