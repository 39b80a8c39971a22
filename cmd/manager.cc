// hearth manager: builds the manager's parts in order of dependency and waits for a signal.
#include <malloc.h>
#include <sys/stat.h>

#include <iostream>
#include <nlohmann/json.hpp>

#include "base/file.h"
#include "base/log.h"
#include "cmd/live_manager_config.h"
#include "cmd/manager_commands.h"
#include "cmd/manager_parts.h"
#include "cmd/node_status.h"
#include "cmd/notify.h"
#include "cmd/signals.h"
#include "config/manager_config.h"
#include "net/grpc_tls.h"
#include "net/http_server.h"

namespace hearth::cmd {

namespace {

using nlohmann::json;
using std::chrono::milliseconds;

constexpr milliseconds kGrace{3'000};  // for each server
constexpr size_t kApiThreads = 4;
constexpr size_t kApiConnections = 512;
constexpr uint64_t kMaxApiBodyBytes = 1 << 20;
// Each connection has buffers that count even while it is idle; where they do not fit, gRPC closes
// connections, and nodes come and go.
constexpr uint64_t kGrpcMemoryBytes = 256ull << 20;
constexpr milliseconds kTick{500};
constexpr std::chrono::minutes kRenewalStep{5};
constexpr std::chrono::seconds kTrimStep{2};

// What the API shows: the operator's own certificate where there is one, else the cluster's.
class ApiIdentity {
 public:
  ApiIdentity(const config::ManagerApiConfig& config, const manager::ClusterCa& ca)
      : config_(config), ca_(ca) {}

  // kInvalidArgument: which file cannot be used.
  Status Load() {
    if (config_.tls_cert.empty()) return OkStatus();
    constexpr uint64_t kLimit = 256 << 10;
    auto identity = std::make_shared<net::TlsIdentity>();
    identity->certificate_pem = TRY(ReadFile(config_.tls_cert, kLimit).Annotate("api.tls_cert"));
    identity->key_pem = TRY(ReadFile(config_.tls_key, kLimit).Annotate("api.tls_key"));
    TRY_STATUS(net::MakeServerContext(*identity).status().Annotate("api.tls_cert, api.tls_key"));
    MutexLock lock(mutex_);
    own_ = std::move(identity);
    return OkStatus();
  }
  std::shared_ptr<const net::TlsIdentity> Get() const {
    MutexLock lock(mutex_);
    return own_ != nullptr ? own_ : ca_.identity();
  }

 private:
  const config::ManagerApiConfig config_;
  const manager::ClusterCa& ca_;
  mutable Mutex mutex_;
  std::shared_ptr<const net::TlsIdentity> own_ GUARDED_BY(mutex_);
};

struct ManagerAddresses {
  std::string api;
  std::string grpc;
};

void SayReady(const Common& common, const config::ManagerConfig& config,
              const manager::ClusterCa& ca, const ManagerAddresses& addresses) {
  LOG_INFO("ready", {{"api", addresses.api}, {"grpc", addresses.grpc}});
  if (!common.json) return;
  std::cout << json({{"ready", true},
                     {"api", addresses.api},
                     {"grpc", addresses.grpc},
                     {"ca_file", (config.root / "ca/ca.pem").native()},
                     {"ca_sha256", ca.authority().Fingerprint().hex()}})
                   .dump()
            << std::endl;
}

// What a burst leaves free between things that stay: a thousand nodes that come leave 40 MiB. Under
// a heap's lock, milliseconds for each of them.
class HeapTrimmer {
 public:
  void Tick() {
    const auto now = std::chrono::steady_clock::now();
    if (now < next_) return;
    next_ = now + kTrimStep;
    (void)::malloc_trim(0);
  }

 private:
  std::chrono::steady_clock::time_point next_ = std::chrono::steady_clock::now() + kTrimStep;
};

// Serves until SIGTERM or SIGINT.
void WaitForStop(const Common& common, const Signals& signals, const Notifier& notifier,
                 LiveManagerConfig& live, ApiIdentity& identity, ManagerParts& parts) {
  const std::string serving = "serving; hearth " HEARTH_VERSION;
  notifier.Ready(serving);
  auto renewal = std::chrono::steady_clock::now();
  HeapTrimmer trimmer;
  while (true) {
    const int signal = signals.Wait(kTick);
    if (signal == SIGINT || signal == SIGTERM) return;
    if (signal == SIGHUP) {
      notifier.Reloading();
      Status reloaded = live.Reload(common);
      if (reloaded.ok()) reloaded = identity.Load();
      if (!reloaded.ok()) {
        LOG_ERROR("config not reloaded, the old one stays in force", {{"error", reloaded}});
      } else {
        LOG_INFO("reloaded");
      }
      notifier.Ready(reloaded.ok() ? serving : "serving; reload failed: " + reloaded.message());
    }
    parts.Tick();
    trimmer.Tick();
    notifier.KeepAlive();
    if (std::chrono::steady_clock::now() < renewal) continue;
    renewal = std::chrono::steady_clock::now() + kRenewalStep;
    if (const Status renewed = parts.ca->RenewOwn(); !renewed.ok()) {
      LOG_ERROR("own certificate not renewed, tried again", {{"error", renewed}});
    }
  }
}

net::HttpServer::Options ApiServer(const config::ManagerApiConfig& config, ApiIdentity& identity) {
  net::HttpServer::Options options;
  options.listen = config.listen;
  if (!config.insecure_http) options.tls = [&identity] { return identity.Get(); };
  options.handler_threads = kApiThreads;
  options.max_connections = kApiConnections;
  options.max_body_bytes = kMaxApiBodyBytes;
  return options;
}

Result<std::unique_ptr<net::HttpServer>> StartApi(const config::ManagerApiConfig& config,
                                                  ApiIdentity& identity,
                                                  const manager::Router& router) {
  return net::HttpServer::Start(
             ApiServer(config, identity),
             Counted(
                 "api",
                 [&router](const net::ServerRequest& request) { return router.RouteOf(request); },
                 [&router](const net::ServerRequest& request, net::HttpServer::Respond respond) {
                   router.Answer(request, std::move(respond));
                 }))
      .Annotate("api.listen");
}

Status Serve(const Common& common, const config::ManagerConfig& config, const Signals& signals,
             const Notifier& notifier) {
  LiveManagerConfig live(config);
  const auto parts = TRY(ManagerParts::Open(live));
  ApiIdentity identity(config.api, *parts->ca);
  TRY_STATUS(identity.Load());
  const auto tls = TRY(net::TlsWatch::Start(parts->ca->files()));
  const auto grpc = TRY(net::GrpcTlsServer::Start(
                            {.listen = config.grpc_listen,
                             .tls = tls,
                             .services = {parts->enroll_service.get(), parts->tracker_service.get(),
                                          parts->order_service.get()},
                             .memory_bytes = kGrpcMemoryBytes})
                            .Annotate("grpc.listen"));
  const auto http = TRY(StartApi(config.api, identity, *parts->router));
  if (config.api.insecure_http) {
    LOG_WARNING("the API speaks plain HTTP: tokens go over the wire in the clear");
  }
  parts->serving = true;
  SayReady(
      common, config, *parts->ca,
      {(config.api.insecure_http ? "http://" : "https://") + http->address(), grpc->address()});
  WaitForStop(common, signals, notifier, live, identity, *parts);

  LOG_INFO("stopping");
  notifier.Stopping();
  parts->serving = false;
  parts->orders->feed().End();
  http->Stop(kGrace);
  parts->tracker->CloseAll(Unavailable("the manager is stopping"));
  parts->orders->CloseAll(Unavailable("the manager is stopping"));
  grpc->Shutdown(kGrace);
  parts->enrolling.Join();
  return OkStatus();
}

// Before there are threads. An inventory of a thousand nodes comes in buffers of hundreds of KiB,
// on any thread: in arenas of their own, and within heaps, they would stay for good.
void LimitMallocsWaste() {
  (void)::mallopt(M_ARENA_MAX, 2);
  (void)::mallopt(M_MMAP_THRESHOLD, 64 << 10);
}

}  // namespace

int RunManager(const Common& common) {
  const auto config = config::LoadManagerConfig(common.config_file, common.sets);
  if (!config.ok()) return Fail("config", config.status());
  const Notifier notifier = Notifier::FromEnvironment();  // before there are threads
  LimitMallocsWaste();
  net::UseSmallTlsBuffers();
  const Signals signals;
  ::umask(0077);
  const Status status = Serve(common, *config, signals, notifier);
  return status.ok() ? kDone : Fail("manager", status);
}

}  // namespace hearth::cmd
