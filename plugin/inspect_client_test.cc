#include "plugin/inspect_client.h"

#include <grpcpp/server_context.h>
#include <gtest/gtest.h>

#include "containerd/services/snapshots/v1/snapshots.grpc.pb.h"
#include "net/grpc.h"
#include "plugin/scratch_store_for_test.h"

namespace hearth::plugin {
namespace {

namespace v1 = containerd::services::snapshots::v1;

class Snapshots final : public v1::Snapshots::CallbackService {
 public:
  explicit Snapshots(grpc::Status removal) : removal_(std::move(removal)) {}

  grpc::ServerUnaryReactor* Prepare(grpc::CallbackServerContext* context,
                                    const v1::PrepareSnapshotRequest*,
                                    v1::PrepareSnapshotResponse* response) override {
    auto* mount = response->add_mounts();
    mount->set_type("bind");
    mount->set_source("/somewhere/fs");
    return Answer(context, grpc::Status::OK);
  }
  grpc::ServerUnaryReactor* Remove(grpc::CallbackServerContext* context,
                                   const v1::RemoveSnapshotRequest*,
                                   google::protobuf::Empty*) override {
    return Answer(context, removal_);
  }

 private:
  static grpc::ServerUnaryReactor* Answer(grpc::CallbackServerContext* context,
                                          const grpc::Status& status) {
    auto* reactor = context->DefaultReactor();
    reactor->Finish(status);
    return reactor;
  }

  const grpc::Status removal_;
};

Result<std::string> TryWithRemoval(const grpc::Status& removal) {
  const ScratchStore scratch;
  const auto socket = scratch.root() / "c.sock";
  Snapshots service(removal);
  const auto server =
      net::GrpcServer::Start({.socket = socket, .services = {&service}, .admit = nullptr});
  if (!server.ok()) return server.status();
  const auto client =
      InspectClient::Create({.address = socket.string(), .timeout = std::chrono::seconds(20)});
  return client->TrySnapshotter("k8s.io", "hearth");
}

// `hearth doctor` failed when containerd collected the snapshot between its two calls.
TEST(InspectClientTest, SnapshotThatContainerdCollectedFirstIsNoFault) {
  const auto place = TryWithRemoval(grpc::Status(grpc::StatusCode::NOT_FOUND, "gone"));
  ASSERT_TRUE(place.ok()) << place.status();
  EXPECT_EQ(*place, "/somewhere/fs");
}

TEST(InspectClientTest, RemovalThatFailsIsAFault) {
  const auto place = TryWithRemoval(grpc::Status(grpc::StatusCode::INTERNAL, "stuck"));
  EXPECT_EQ(place.status().code(), StatusCode::kInternal);
}

}  // namespace
}  // namespace hearth::plugin
