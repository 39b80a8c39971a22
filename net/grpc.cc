#include "net/grpc.h"

#include <fcntl.h>
#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>
#include <grpcpp/completion_queue.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/health_check_service_interface.h>
#include <grpcpp/resource_quota.h>
#include <grpcpp/security/credentials.h>
#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>
#include <grpcpp/server_posix.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <string>
#include <string_view>

#include "base/log.h"
#include "base/thread.h"

namespace hearth::net {

namespace {

constexpr int kBacklog = 64;
// Descriptors run out for a moment: look again after this long instead of spinning.
constexpr int kAcceptPauseMs = 100;
constexpr auto kDestructorGrace = std::chrono::seconds(2);
// A local socket costs nothing to try, and who comes back must be found before it calls us.
constexpr int kMaxReconnectBackoffMs = 1000;

Result<sockaddr_un> AddressOf(const std::filesystem::path& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const std::string& text = path.native();
  if (text.empty() || text.size() >= sizeof(address.sun_path)) {
    return InvalidArgument("socket path " + text + " has " + std::to_string(text.size()) +
                           " bytes, 1 to " + std::to_string(sizeof(address.sun_path) - 1) +
                           " are possible (choose another run directory)");
  }
  std::memcpy(address.sun_path, text.c_str(), text.size() + 1);
  return address;
}

Result<Fd> NewSocket() {
  Fd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd.valid()) return ErrnoStatus(errno, "socket");
  return fd;
}

// Takes the name's lock file. The kernel drops it with the process, so a dead server's is free.
Result<Fd> LockName(const std::filesystem::path& socket) {
  const std::string path = socket.native() + ".lock";
  Fd lock = TRY(OpenFile(path, O_RDWR | O_CREAT, 0600));
  if (::flock(lock.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK) return ErrnoStatus(errno, "lock " + path);
    return FailedPrecondition("another server has " + socket.native() +
                              " (stop it, or choose another run directory)");
  }
  return lock;
}

// Whoever listens there without knowing of the lock file is left alone too.
Status CheckNobodyListens(const std::filesystem::path& socket, const sockaddr_un& address) {
  struct stat info {};
  if (::lstat(socket.c_str(), &info) != 0) return OkStatus();
  if (!S_ISSOCK(info.st_mode)) {
    return InvalidArgument(socket.native() + " is there and is no socket (remove it)");
  }
  Fd probe = TRY(NewSocket());
  const auto* generic = reinterpret_cast<const sockaddr*>(&address);
  if (::connect(probe.get(), generic, sizeof(address)) == 0 || errno == EAGAIN) {
    return FailedPrecondition("another program listens on " + socket.native() +
                              " (stop it, or choose another run directory)");
  }
  return OkStatus();
}

// Made under a name that only we can reach, and renamed when it has its mode and its listener.
Result<Fd> Listen(const std::filesystem::path& socket) {
  std::string folder = (socket.parent_path() / ".XXXXXX").native();
  if (::mkdtemp(folder.data()) == nullptr) return ErrnoStatus(errno, "mkdtemp " + folder);
  const std::string temporary = folder + "/s";
  auto listen = [&]() -> Result<Fd> {
    const sockaddr_un address = TRY(AddressOf(temporary));
    Fd fd = TRY(NewSocket());
    if (::bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0) {
      return ErrnoStatus(errno, "bind " + temporary);
    }
    if (::chmod(temporary.c_str(), 0600) != 0) return ErrnoStatus(errno, "chmod " + temporary);
    if (::listen(fd.get(), kBacklog) != 0) return ErrnoStatus(errno, "listen " + temporary);
    if (::rename(temporary.c_str(), socket.c_str()) != 0) {
      return ErrnoStatus(errno, "rename " + temporary + " to " + socket.native());
    }
    return fd;
  };
  Result<Fd> fd = listen();
  ::unlink(temporary.c_str());
  ::rmdir(folder.c_str());
  return fd;
}

Status AdmitRootAndOwnUser(const GrpcPeer& peer) {
  if (peer.uid == 0 || peer.uid == ::geteuid()) return OkStatus();
  return PermissionDenied("user " + std::to_string(peer.uid) + " may not use this socket");
}

std::unique_ptr<grpc::Server> BuildServer(const GrpcServer::Options& options) {
  grpc::EnableDefaultHealthCheckService(true);
  grpc::ServerBuilder builder;
  grpc::ResourceQuota quota("containerd");
  quota.Resize(options.memory_bytes);
  builder.SetResourceQuota(quota);
  builder.SetMaxReceiveMessageSize(kMaxGrpcMessageBytes);
  builder.SetMaxSendMessageSize(kMaxGrpcMessageBytes);
  // Local clients ping as they like (Go's measures its bandwidth that way).
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MAX_PING_STRIKES, 0);
  for (grpc::Service* service : options.services) builder.RegisterService(service);
  return builder.BuildAndStart();
}

}  // namespace

grpc::Status ToGrpc(const Status& status) {
  if (status.ok()) return grpc::Status::OK;
  return {static_cast<grpc::StatusCode>(status.code()), status.message()};
}

Status FromGrpc(const grpc::Status& status) {
  if (status.ok()) return OkStatus();
  const int code = status.error_code();
  const bool known = code > 0 && code <= static_cast<int>(StatusCode::kUnauthenticated);
  return {known ? static_cast<StatusCode>(code) : StatusCode::kUnknown, status.error_message()};
}

Result<std::unique_ptr<GrpcServer>> GrpcServer::Start(Options options) {
  const sockaddr_un address = TRY(AddressOf(options.socket));
  std::unique_ptr<GrpcServer> server(new GrpcServer);
  server->lock_ = TRY(LockName(options.socket));
  TRY_STATUS(CheckNobodyListens(options.socket, address));
  server->admit_ = options.admit ? std::move(options.admit) : AdmitRootAndOwnUser;
  server->stop_ = Fd(::eventfd(0, EFD_CLOEXEC));
  if (!server->stop_.valid()) return ErrnoStatus(errno, "eventfd");
  server->server_ = BuildServer(options);
  if (server->server_ == nullptr) return Internal("gRPC did not start a server");
  server->listener_ = TRY(Listen(options.socket));
  server->acceptor_ = std::thread([raw = server.get()] { raw->AcceptLoop(); });
  return server;
}

GrpcServer::~GrpcServer() { Shutdown(kDestructorGrace); }

void GrpcServer::AcceptLoop() {
  NameThread("grpc-accept");
  pollfd waits[2] = {{listener_.get(), POLLIN, 0}, {stop_.get(), POLLIN, 0}};
  while (true) {
    if (::poll(waits, 2, -1) < 0 && errno != EINTR) {
      LOG_ERROR("the socket for containerd stopped accepting",
                {{"error", ErrnoStatus(errno, "poll")}});
      return;
    }
    if (waits[1].revents != 0) return;
    if (waits[0].revents != 0) Accept();
  }
}

void GrpcServer::Accept() {
  Fd client(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
  if (!client.valid()) {
    if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS) {
      LOG_WARNING("cannot accept a connection now", {{"error", ErrnoStatus(errno, "accept")}});
      pollfd stop{stop_.get(), POLLIN, 0};
      (void)::poll(&stop, 1, kAcceptPauseMs);
    }
    return;
  }
  ucred credentials{};
  socklen_t length = sizeof(credentials);
  if (::getsockopt(client.get(), SOL_SOCKET, SO_PEERCRED, &credentials, &length) != 0) return;
  if (Status refused = admit_({credentials.pid, credentials.uid}); !refused.ok()) {
    LOG_WARNING("refused a connection", {{"pid", credentials.pid}, {"error", refused}});
    return;
  }
  grpc::AddInsecureChannelFromFd(server_.get(), client.Release());
}

void GrpcServer::Shutdown(std::chrono::milliseconds grace) {
  if (!acceptor_.joinable()) return;
  (void)::eventfd_write(stop_.get(), 1);
  acceptor_.join();
  listener_.Reset();
  if (auto* health = server_->GetHealthCheckService()) health->Shutdown();
  server_->Shutdown(std::chrono::system_clock::now() + grace);
  server_->Wait();
  lock_.Reset();
}

Status AskGrpcHealth(const std::filesystem::path& socket, std::chrono::milliseconds timeout) {
  // HealthCheckRequest{} is no bytes; HealthCheckResponse{status: SERVING} is field 1 = 1.
  constexpr std::string_view kServing = "\x08\x01";
  grpc::GenericStub stub(MakeUnixChannel(socket));
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + timeout);
  grpc::CompletionQueue queue;
  const grpc::Slice nothing;
  const grpc::ByteBuffer request(&nothing, 1);
  const auto call =
      stub.PrepareUnaryCall(&context, "/grpc.health.v1.Health/Check", request, &queue);
  call->StartCall();
  grpc::ByteBuffer response;
  grpc::Status status;
  call->Finish(&response, &status, nullptr);
  void* tag = nullptr;
  bool ok = false;
  (void)queue.Next(&tag, &ok);
  queue.Shutdown();
  while (queue.Next(&tag, &ok)) {
  }
  if (!status.ok()) return FromGrpc(status).Annotate("health of " + socket.native());
  grpc::Slice answer;
  if (!response.DumpToSingleSlice(&answer).ok() ||
      std::string_view(reinterpret_cast<const char*>(answer.begin()), answer.size()) != kServing) {
    return Unavailable("health of " + socket.native() + ": the server does not serve");
  }
  return OkStatus();
}

std::shared_ptr<grpc::Channel> MakeUnixChannel(const std::filesystem::path& socket) {
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(kMaxGrpcMessageBytes);
  arguments.SetMaxSendMessageSize(kMaxGrpcMessageBytes);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, kMaxReconnectBackoffMs);
  // Go's servers refuse a path as authority.
  arguments.SetString(GRPC_ARG_DEFAULT_AUTHORITY, "localhost");
  return grpc::CreateCustomChannel("unix:" + socket.native(), grpc::InsecureChannelCredentials(),
                                   arguments);
}

}  // namespace hearth::net
