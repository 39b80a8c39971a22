#include "plugin/containerd_client.h"

#include <grpcpp/server_context.h>
#include <gtest/gtest.h>

#include "containerd/services/introspection/v1/introspection.grpc.pb.h"
#include "net/grpc.h"
#include "plugin/scratch_store_for_test.h"

namespace hearth::plugin {
namespace {

namespace v1 = containerd::services::introspection::v1;

class Introspection final : public v1::Introspection::CallbackService {
  grpc::ServerUnaryReactor* Server(grpc::CallbackServerContext* context,
                                   const google::protobuf::Empty*,
                                   v1::ServerResponse* response) override {
    response->set_uuid("root-of-test");
    auto* reactor = context->DefaultReactor();
    reactor->Finish(grpc::Status::OK);
    return reactor;
  }
};

TEST(ContainerdClient, ContainerdThatWasDownIsFoundAtTheFirstQuestion) {
  const ScratchStore scratch;
  const auto socket = scratch.root() / "c.sock";
  const auto client = ContainerdClient::Create({.address = socket.string()});
  EXPECT_EQ(client->Server().status().code(), StatusCode::kUnavailable);
  Introspection service;
  const auto server =
      net::GrpcServer::Start({.socket = socket, .services = {&service}, .admit = nullptr});
  ASSERT_TRUE(server.ok()) << server.status();
  const auto answer = client->Server();
  ASSERT_TRUE(answer.ok()) << answer.status();
  EXPECT_EQ(answer->uuid, "root-of-test");
}

}  // namespace
}  // namespace hearth::plugin
