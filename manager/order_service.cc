#include "manager/order_service.h"

#include <grpcpp/support/server_callback.h>

#include "hearth/v1/orders.grpc.pb.h"
#include "manager/node_stream_service.h"

namespace hearth::manager {

namespace {

using Handler = StreamHandler<v1::OrdersFromNode, v1::OrdersToNode>;

Handler HandlerOf(OrderHub& hub) {
  return {.begin = [&hub](const net::GrpcTlsPeer& peer, const v1::OrdersFromNode& first,
                          std::shared_ptr<OrderLink> link) -> Result<uint64_t> {
            if (!first.has_hello()) return InvalidArgument("a stream begins with Hello");
            return hub.Open(peer, first.hello(), std::move(link));
          },
          .receive =
              [&hub](uint64_t session, const v1::OrdersFromNode& message) {
                return hub.Receive(session, message);
              },
          .closed = [&hub](uint64_t session) { hub.Closed(session); }};
}

class Service final : public v1::Orders::CallbackService {
 public:
  explicit Service(OrderHub& hub) : handler_(HandlerOf(hub)) {}
  grpc::ServerBidiReactor<v1::OrdersFromNode, v1::OrdersToNode>* Connect(
      grpc::CallbackServerContext* context) override {
    return new NodeStream<v1::OrdersFromNode, v1::OrdersToNode>(handler_, context);
  }

 private:
  const Handler handler_;
};

}  // namespace

std::shared_ptr<grpc::Service> MakeOrderService(OrderHub& hub) {
  return std::make_shared<Service>(hub);
}

}  // namespace hearth::manager
