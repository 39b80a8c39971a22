#include "net/grpc.h"

#include <fcntl.h>
#include <grpcpp/channel.h>
#include <grpcpp/impl/codegen/server_callback_handlers.h>
#include <grpcpp/impl/codegen/service_type.h>
#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/server_callback.h>
#include <grpcpp/support/status.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>
#include <fstream>
#include <string>

namespace hearth::net {
namespace {

// "/test.Echo/Echo": gives back the bytes that it gets.
class EchoService final : public grpc::Service {
 public:
  EchoService() {
    AddMethod(new grpc::internal::RpcServiceMethod("/test.Echo/Echo",
                                                   grpc::internal::RpcMethod::NORMAL_RPC, nullptr));
    MarkMethodRawCallback(
        0, new grpc::internal::CallbackUnaryHandler<grpc::ByteBuffer, grpc::ByteBuffer>(
               [](grpc::CallbackServerContext* context, const grpc::ByteBuffer* request,
                  grpc::ByteBuffer* response) {
                 *response = *request;
                 auto* reactor = context->DefaultReactor();
                 reactor->Finish(grpc::Status::OK);
                 return reactor;
               }));
  }
};

class GrpcServerTest : public ::testing::Test {
 protected:
  GrpcServerTest() {
    char name[] = "/tmp/grpc_test.XXXXXX";
    folder_ = ::mkdtemp(name);
    socket_ = folder_ / "h.sock";
  }
  ~GrpcServerTest() override { std::filesystem::remove_all(folder_); }

  Result<std::unique_ptr<GrpcServer>> Start() {
    GrpcServer::Options options;
    options.socket = socket_;
    options.services = {&service_};
    return GrpcServer::Start(std::move(options));
  }
  bool Connects(std::chrono::seconds wait) {
    return MakeUnixChannel(socket_)->WaitForConnected(std::chrono::system_clock::now() + wait);
  }

  EchoService service_;
  std::filesystem::path folder_;
  std::filesystem::path socket_;
};

TEST_F(GrpcServerTest, SocketIsForItsOwnerOnlyAndAnswers) {
  auto server = Start();
  ASSERT_TRUE(server.ok()) << server.status();
  struct stat info {};
  ASSERT_EQ(::stat(socket_.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 07777, 0600u);
  EXPECT_TRUE(Connects(std::chrono::seconds(5)));
}

TEST_F(GrpcServerTest, SecondServerOnALiveNameIsRefused) {
  auto first = Start();
  ASSERT_TRUE(first.ok());
  auto second = Start();
  EXPECT_EQ(second.status().code(), StatusCode::kFailedPrecondition);
  EXPECT_TRUE(Connects(std::chrono::seconds(5)));
}

TEST_F(GrpcServerTest, StrangersListenerIsLeftAlone) {
  Fd stranger(::socket(AF_UNIX, SOCK_STREAM, 0));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::strcpy(address.sun_path, socket_.c_str());
  ASSERT_EQ(::bind(stranger.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
  ASSERT_EQ(::listen(stranger.get(), 1), 0);
  EXPECT_EQ(Start().status().code(), StatusCode::kFailedPrecondition);
}

TEST_F(GrpcServerTest, NameNeverVanishesAcrossARestart) {
  auto first = Start();
  ASSERT_TRUE(first.ok());
  first.value()->Shutdown(std::chrono::milliseconds(100));
  EXPECT_TRUE(std::filesystem::is_socket(socket_));
  auto second = Start();
  ASSERT_TRUE(second.ok()) << second.status();
  EXPECT_TRUE(Connects(std::chrono::seconds(5)));
}

TEST_F(GrpcServerTest, FileInTheWayIsNotReplaced) {
  std::ofstream(socket_) << "precious";
  EXPECT_EQ(Start().status().code(), StatusCode::kInvalidArgument);
  EXPECT_TRUE(std::filesystem::is_regular_file(socket_));
}

TEST_F(GrpcServerTest, TooLongNameIsRefusedByLength) {
  socket_ = folder_ / std::string(120, 'x');
  auto server = Start();
  EXPECT_EQ(server.status().code(), StatusCode::kInvalidArgument);
  EXPECT_NE(server.status().message().find("bytes"), std::string::npos);
}

TEST_F(GrpcServerTest, RefusedPeerGetsNoConnection) {
  GrpcServer::Options options;
  options.socket = socket_;
  options.services = {&service_};
  pid_t seen = 0;
  options.admit = [&seen](const GrpcPeer& peer) {
    seen = peer.pid;
    return PermissionDenied("not you");
  };
  auto server = GrpcServer::Start(std::move(options));
  ASSERT_TRUE(server.ok());
  EXPECT_FALSE(Connects(std::chrono::seconds(1)));
  server.value()->Shutdown(std::chrono::milliseconds(100));
  EXPECT_EQ(seen, ::getpid());
}

TEST(GrpcStatusTest, CodesAndTextCrossBothWays) {
  for (int code = 1; code <= 16; ++code) {
    const Status status(static_cast<StatusCode>(code), "why");
    EXPECT_EQ(FromGrpc(ToGrpc(status)), status);
  }
  EXPECT_TRUE(FromGrpc(ToGrpc(OkStatus())).ok());
}

}  // namespace
}  // namespace hearth::net
