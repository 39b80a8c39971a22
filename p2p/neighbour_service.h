// NeighbourService: the control port, where other nodes open their stream to this one.
#pragma once

#include <memory>

#include "hearth/v1/neighbour.pb.h"
#include "p2p/cluster.h"

namespace grpc {
class Service;
}  // namespace grpc

namespace hearth::p2p {

// The service to register with a net::GrpcTlsServer; it and `cluster` outlive that server.
// `own_cluster`: whose nodes may call.
std::shared_ptr<grpc::Service> MakeNeighbourService(Cluster& cluster, std::string own_cluster,
                                                    v1::NeighbourHello own);

}  // namespace hearth::p2p
