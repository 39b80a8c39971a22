#include "manager/tracker_service.h"

#include <grpcpp/support/server_callback.h>

#include "hearth/v1/tracker.grpc.pb.h"
#include "manager/node_stream_service.h"

namespace hearth::manager {

namespace {

using Handler = StreamHandler<v1::FromNode, v1::ToNode>;

Handler HandlerOf(TrackerHub& hub) {
  return {.begin = [&hub](const net::GrpcTlsPeer& peer, const v1::FromNode& first,
                          std::shared_ptr<NodeLink> link) -> Result<uint64_t> {
            if (!first.has_hello()) return InvalidArgument("a stream begins with Hello");
            return hub.Open(peer, first.hello(), std::move(link));
          },
          .receive = [&hub](uint64_t session,
                            const v1::FromNode& message) { return hub.Receive(session, message); },
          .closed = [&hub](uint64_t session) { hub.Closed(session); }};
}

class Service final : public v1::Tracker::CallbackService {
 public:
  explicit Service(TrackerHub& hub) : handler_(HandlerOf(hub)) {}
  grpc::ServerBidiReactor<v1::FromNode, v1::ToNode>* Connect(
      grpc::CallbackServerContext* context) override {
    return new NodeStream<v1::FromNode, v1::ToNode>(handler_, context);
  }

 private:
  const Handler handler_;
};

}  // namespace

std::shared_ptr<grpc::Service> MakeTrackerService(TrackerHub& hub) {
  return std::make_shared<Service>(hub);
}

}  // namespace hearth::manager
