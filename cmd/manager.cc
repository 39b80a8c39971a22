// hearth manager: builds the manager's parts in order of dependency and waits for a signal.
#include <openssl/rand.h>
#include <sys/stat.h>

#include <atomic>
#include <iostream>
#include <nlohmann/json.hpp>
#include <thread>

#include "base/ascii.h"
#include "base/file.h"
#include "base/log.h"
#include "cmd/manager_commands.h"
#include "cmd/node_status.h"
#include "cmd/notify.h"
#include "cmd/signals.h"
#include "config/manager_config.h"
#include "kv/kv.h"
#include "manager/api.h"
#include "manager/cluster_ca.h"
#include "manager/enroll_service.h"
#include "manager/fleet.h"
#include "manager/router.h"
#include "manager/throttle.h"
#include "manager/tokens.h"
#include "manager/tracker_hub.h"
#include "manager/tracker_service.h"
#include "net/grpc_tls.h"
#include "net/http_server.h"

namespace hearth::cmd {

namespace {

using nlohmann::json;
using std::chrono::milliseconds;

constexpr milliseconds kGrace{3'000};  // for each server
constexpr uint64_t kStoreMemoryBytes = 32ull << 20;
constexpr size_t kEnrolThreads = 2;
constexpr size_t kEnrolQueue = 256;
constexpr size_t kApiThreads = 4;
constexpr size_t kApiConnections = 512;
constexpr uint64_t kMaxApiBodyBytes = 1 << 20;
constexpr milliseconds kTick{500};
constexpr std::chrono::minutes kRenewalStep{5};
constexpr uint64_t kMaxTokenFileBytes = 4096;
constexpr const char* kFileTokenName = "admin-token-file";
constexpr const char* kFirstTokenName = "first admin";

// The config in force, for what a reload takes over. Any thread.
class LiveManagerConfig {
 public:
  explicit LiveManagerConfig(config::ManagerConfig config)
      : config_(std::make_shared<const config::ManagerConfig>(std::move(config))) {
    SetLogLevel(config_->log_level);
  }
  std::shared_ptr<const config::ManagerConfig> Get() const {
    MutexLock lock(mutex_);
    return config_;
  }
  uint64_t OriginRate(const std::string& cluster) const {
    const auto config = Get();
    const auto found = config->clusters.find(cluster);
    return found == config->clusters.end() ? 0 : found->second.origin;
  }
  Status Reload(const Common& common) {
    auto fresh = TRY(config::LoadManagerConfig(common.config_file, common.sets));
    const auto before = Get();
    for (const std::string& key : config::RestartKeys(*before, fresh)) {
      LOG_WARNING("changed, in force after a restart", {{"key", key}});
    }
    SetLogLevel(fresh.log_level);
    MutexLock lock(mutex_);
    config_ = std::make_shared<const config::ManagerConfig>(std::move(fresh));
    return OkStatus();
  }

 private:
  mutable Mutex mutex_;
  std::shared_ptr<const config::ManagerConfig> config_ GUARDED_BY(mutex_);
};

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

// The operator's own token, or one made now where there is none at all. Its text goes to a file
// that only root reads; the log has the file's name.
Status ProvideAdminToken(const config::ManagerConfig& config, manager::Tokens& tokens) {
  if (!config.admin_token_file.empty()) {
    std::string text = TRY(
        ReadFile(config.admin_token_file, kMaxTokenFileBytes).Annotate("tokens.admin_token_file"));
    while (!text.empty() && (text.back() == '\n' || text.back() == '\r')) text.pop_back();
    return tokens.SetAdmin(kFileTokenName, Secret(std::string(TrimBlanks(text))))
        .Annotate("tokens.admin_token_file " + config.admin_token_file);
  }
  if (!tokens.List().empty()) return OkStatus();
  const auto made = TRY(tokens.Create({kFirstTokenName, {manager::Scope::kAdmin}, std::nullopt}));
  const auto file = config.root / "admin-token";
  const Status written = WriteFileAtomically(file, made.text.Reveal() + "\n", 0600);
  if (!written.ok()) {
    // Nobody knows it: the next start makes another.
    (void)tokens.Revoke(made.token.id);
    return written;
  }
  LOG_INFO("made an admin token", {{"file", file.native()}});
  return OkStatus();
}

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

// Serves until SIGTERM or SIGINT.
void WaitForStop(const Common& common, const Signals& signals, const Notifier& notifier,
                 LiveManagerConfig& live, ApiIdentity& identity, manager::TrackerHub& hub,
                 manager::ClusterCa& ca) {
  const std::string serving = "serving; hearth " HEARTH_VERSION;
  notifier.Ready(serving);
  auto renewal = std::chrono::steady_clock::now();
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
    hub.Tick();
    hub.SettingsChanged();
    notifier.KeepAlive();
    if (std::chrono::steady_clock::now() < renewal) continue;
    renewal = std::chrono::steady_clock::now() + kRenewalStep;
    if (const Status renewed = ca.RenewOwn(); !renewed.ok()) {
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

Status Serve(const Common& common, const config::ManagerConfig& config, const Signals& signals,
             const Notifier& notifier) {
  LiveManagerConfig live(config);
  TRY_STATUS(MakeDirectories(config.root, 0700));
  const auto kv =
      TRY(kv::OpenRocksKv({.directory = config.root / "store", .memory_bytes = kStoreMemoryBytes}));
  const auto ca = TRY(manager::ClusterCa::Open({.root = config.root, .hosts = config.api.names}));
  const auto tokens = TRY(manager::Tokens::Open(*kv, RealClock()));
  const auto fleet = TRY(manager::Fleet::Open(*kv, RealClock()));
  TRY_STATUS(ProvideAdminToken(config, *tokens));
  ApiIdentity identity(config.api, *ca);
  TRY_STATUS(identity.Load());

  manager::Throttle throttle(RealClock());
  manager::Enrolment enrolment(
      {.ca = *ca, .tokens = *tokens, .fleet = *fleet, .throttle = throttle});
  uint64_t seed = 0;
  CHECK(RAND_bytes(reinterpret_cast<unsigned char*>(&seed), sizeof(seed)) == 1);
  manager::TrackerHub hub(
      {.fleet = *fleet,
       .authority = ca->authority(),
       .seed = seed,
       .program_version = HEARTH_VERSION,
       .origin_rate = [&live](const std::string& cluster) { return live.OriginRate(cluster); }});
  ThreadPool enrolling({.name = "enrol", .threads = kEnrolThreads, .queue_limit = kEnrolQueue});
  const auto enroll_service = manager::MakeEnrollService(enrolment, enrolling);
  const auto tracker_service = manager::MakeTrackerService(hub);
  std::atomic<bool> serving = false;
  manager::Api api(
      {.tokens = *tokens,
       .fleet = *fleet,
       .hub = hub,
       .ca = *ca,
       .program_version = HEARTH_VERSION,
       .ready = [&serving] { return serving ? OkStatus() : Unavailable("starting or stopping"); }});
  manager::Router router(*tokens, RealClock());
  api.AddTo(router);

  const auto tls = TRY(net::TlsWatch::Start(ca->files()));
  const auto grpc =
      TRY(net::GrpcTlsServer::Start({.listen = config.grpc_listen,
                                     .tls = tls,
                                     .services = {enroll_service.get(), tracker_service.get()}})
              .Annotate("grpc.listen"));
  const auto http =
      TRY(net::HttpServer::Start(
              ApiServer(config.api, identity),
              Counted(
                  "api",
                  [&router](const net::ServerRequest& request) { return router.RouteOf(request); },
                  [&router](net::ServerRequest request, const net::HttpServer::Respond& respond) {
                    respond(router.Answer(request));
                  }))
              .Annotate("api.listen"));
  if (config.api.insecure_http) {
    LOG_WARNING("the API speaks plain HTTP: tokens go over the wire in the clear");
  }
  serving = true;
  SayReady(
      common, config, *ca,
      {(config.api.insecure_http ? "http://" : "https://") + http->address(), grpc->address()});
  WaitForStop(common, signals, notifier, live, identity, hub, *ca);

  LOG_INFO("stopping");
  notifier.Stopping();
  serving = false;
  http->Stop(kGrace);
  hub.CloseAll(Unavailable("the manager is stopping"));
  grpc->Shutdown(kGrace);
  enrolling.Join();
  return OkStatus();
}

}  // namespace

int RunManager(const Common& common) {
  const auto config = config::LoadManagerConfig(common.config_file, common.sets);
  if (!config.ok()) return Fail("config", config.status());
  const Notifier notifier = Notifier::FromEnvironment();  // before there are threads
  const Signals signals;
  ::umask(0077);
  const Status status = Serve(common, *config, signals, notifier);
  return status.ok() ? kDone : Fail("manager", status);
}

}  // namespace hearth::cmd
