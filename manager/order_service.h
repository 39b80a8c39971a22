// OrderService: hearth.v1.Orders, the nodes' streams for jobs. It carries messages between gRPC and
// the OrderHub and knows nothing of what they mean.
#pragma once

#include <memory>

#include "manager/order_hub.h"

namespace grpc {
class Service;
}

namespace hearth::manager {

// `hub` must outlive it.
std::shared_ptr<grpc::Service> MakeOrderService(OrderHub& hub);

}  // namespace hearth::manager
