// gRPC over TCP with TLS 1.3 and certificates on both sides: servers, channels, who the peer is.
//
// Any thread. Heavy gRPC headers stay in the .cc files that speak to it.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/digest.h"
#include "base/status.h"
#include "base/thread.h"
#include "net/certificate.h"

namespace grpc {
class Channel;
class Server;
class ServerContextBase;
class Service;
}  // namespace grpc

namespace hearth::net {

struct TlsFiles {                     // PEM
  std::filesystem::path key;          // 0600
  std::filesystem::path certificate;  // ours first, then the authority's
  std::filesystem::path authority;    // whom the other side's certificate must come from
};
inline constexpr std::chrono::seconds kTlsReload{2};

// The files in memory, read again within `reload` when they change and used for new connections
// from then on. One thread for all servers and channels that share it. Replace a certificate by
// rename; its key stays the same.
class TlsWatch {
 public:
  // kFailedPrecondition: which file cannot be read or used, and why.
  static Result<std::shared_ptr<const TlsWatch>> Start(const TlsFiles& files,
                                                       std::chrono::seconds reload = kTlsReload);

  struct Provider;  // gRPC's; for grpc_tls.cc
  explicit TlsWatch(std::shared_ptr<Provider> provider) : provider_(std::move(provider)) {}
  const std::shared_ptr<Provider>& provider() const { return provider_; }

 private:
  const std::shared_ptr<Provider> provider_;
};

// For a process with thousands of connections: each of them, made from now on, has 18 KiB less of
// buffers. All TLS of the process over BIO pairs (gRPC's, Asio's) takes smaller steps. Idempotent.
void UseSmallTlsBuffers();

class GrpcTlsServer {
 public:
  struct Options {
    std::string listen;  // "0.0.0.0:7781"; port 0 = any free one
    std::shared_ptr<const TlsWatch> tls;
    std::vector<grpc::Service*> services;  // callback services, at least one; they outlive it
    uint64_t memory_bytes = 32ull << 20;   // for messages in flight, all connections together
    int max_message_bytes = 1 << 20;       // received and sent
    int max_streams_per_connection = 64;   // further calls wait
    std::chrono::seconds keepalive{20};    // a peer that is silent for two of them is gone
  };
  // Serves when it returns. A client without a certificate gets in (services ask CallerOf()), one
  // with a certificate from elsewhere does not. kAlreadyExists: cannot listen there.
  static Result<std::unique_ptr<GrpcTlsServer>> Start(Options options);
  ~GrpcTlsServer();

  // "0.0.0.0:40123": where it really listens.
  const std::string& address() const { return address_; }
  // Stops accepting, lets calls end for `grace`, cancels the others and waits for their handlers.
  // Idempotent; one thread.
  void Shutdown(std::chrono::milliseconds grace);

 private:
  GrpcTlsServer() = default;
  std::string address_;
  std::unique_ptr<grpc::Server> server_;
};

// The verified certificate of who calls. kUnauthenticated: it showed none, or one that is no
// identity of a cluster.
struct GrpcTlsPeer {
  Identity identity;
  Certificate certificate;
};
Result<GrpcTlsPeer> CallerOf(const grpc::ServerContextBase& context);
// "10.0.0.7" of "ipv4:10.0.0.7:51234"; for throttling and logs.
std::string PeerHost(const grpc::ServerContextBase& context);

// Whom a channel is for; another one is refused in the handshake.
struct ExpectedPeer {
  Role role = Role::kManager;
  std::string id;  // "" = any of that role
};

// A channel to "HOST:PORT" with our certificate. Connects when first used, again after a loss. Host
// names are not looked at: the certificate's identity is.
std::shared_ptr<grpc::Channel> MakeTlsChannel(const std::string& address,
                                              std::shared_ptr<const TlsWatch> tls,
                                              const ExpectedPeer& peer,
                                              int max_message_bytes = 1 << 20);
// Channels to managers: whoever speaks to one address at the same time shares its channel, so that
// a node costs a manager one connection.
class TlsChannels {
 public:
  explicit TlsChannels(std::shared_ptr<const TlsWatch> tls) : tls_(std::move(tls)) {}
  // Kept by the callers alone: when the last one drops it, the next one connects anew.
  std::shared_ptr<grpc::Channel> To(const std::string& address) EXCLUDES(mutex_);

 private:
  const std::shared_ptr<const TlsWatch> tls_;
  Mutex mutex_;
  std::map<std::string, std::weak_ptr<grpc::Channel>> channels_ GUARDED_BY(mutex_);
};
// The same without a certificate of our own, for joining.
std::shared_ptr<grpc::Channel> MakeJoinChannel(const std::string& address,
                                               const Certificate& authority);

// The authority that the chain of the server at "HOST:PORT" ends in, fetched in a handshake in
// which nothing is said. kUnauthenticated: its sha256 is not `fingerprint`, or the server's own
// certificate is not a manager's from there. kUnavailable, kDeadlineExceeded: nobody answers.
// Blocks for `timeout` at most, and for the resolver.
Result<Certificate> FetchAuthority(const std::string& address, const Digest& fingerprint,
                                   std::chrono::milliseconds timeout);

}  // namespace hearth::net
