// gRPC glue: a server on a unix socket, channels to one, and statuses across the border.
//
// Any thread. Heavy gRPC headers stay in the .cc files that speak to it.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <thread>
#include <vector>

#include "base/file.h"
#include "base/status.h"

namespace grpc {
class Channel;
class Server;
class Service;
class Status;
}  // namespace grpc

namespace hearth::net {

// containerd sends messages of up to 16 MiB; the rest is for what surrounds their bytes.
inline constexpr int kMaxGrpcMessageBytes = (16 << 20) + (64 << 10);

grpc::Status ToGrpc(const Status& status);
Status FromGrpc(const grpc::Status& status);

// The process at the other end of an accepted connection.
struct GrpcPeer {
  pid_t pid = 0;
  uid_t uid = 0;
};

class GrpcServer {
 public:
  struct Options {
    std::filesystem::path socket;          // its folder exists; the name is at most 107 bytes
    uint64_t memory_bytes = 48ull << 20;   // for messages in flight, all connections together
    std::vector<grpc::Service*> services;  // callback services; they outlive the server
    // Asked on the server's own accept thread; an error closes the connection. Unset: root and our
    // own user may connect.
    std::function<Status(const GrpcPeer&)> admit;
  };
  // Serves (and answers gRPC's health protocol) when it returns. The socket is 0600 and replaces a
  // dead one in one step, so that a client never finds the name missing. kFailedPrecondition: a
  // live server has it. kInvalidArgument: name too long, or something else than a socket is there.
  static Result<std::unique_ptr<GrpcServer>> Start(Options options);
  // Shutdown() with a short grace.
  ~GrpcServer();

  // Stops accepting, lets calls end for `grace`, cancels the others and waits for their handlers.
  // The name stays, without a listener: clients then fail at once instead of waiting for a file.
  // Idempotent; one thread.
  void Shutdown(std::chrono::milliseconds grace);

 private:
  GrpcServer() = default;
  void AcceptLoop();
  void Accept();

  std::function<Status(const GrpcPeer&)> admit_;
  Fd lock_;  // of "<socket>.lock": one server per name
  Fd listener_;
  Fd stop_;  // eventfd that ends the accept thread
  std::unique_ptr<grpc::Server> server_;
  std::thread acceptor_;
};

// Asks the server at `socket` for its health by gRPC's health protocol, on a connection of its own.
// kUnavailable, kDeadlineExceeded: nobody answers there. Blocks for `timeout` at most.
Status AskGrpcHealth(const std::filesystem::path& socket, std::chrono::milliseconds timeout);

// A channel to containerd's (or our own) socket. Connects when first used, again after a loss.
std::shared_ptr<grpc::Channel> MakeUnixChannel(const std::filesystem::path& socket);

}  // namespace hearth::net
