// hearth node: builds the daemon's parts in order of dependency and waits for a signal.
#include <poll.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <iostream>
#include <nlohmann/json.hpp>
#include <optional>
#include <thread>

#include "base/log.h"
#include "base/timer.h"
#include "cmd/address_check.h"
#include "cmd/commands.h"
#include "cmd/live_config.h"
#include "cmd/node_readings.h"
#include "cmd/node_status.h"
#include "cmd/notify.h"
#include "net/connector.h"
#include "net/grpc.h"
#include "net/http_client.h"
#include "net/http_server.h"
#include "oci/credentials.h"
#include "oci/registry.h"
#include "p2p/swarm.h"
#include "plugin/admin.h"
#include "plugin/chain_index.h"
#include "plugin/containerd_client.h"
#include "plugin/containerd_watch.h"
#include "plugin/content_service.h"
#include "plugin/default_snapshotter.h"
#include "plugin/diff_service.h"
#include "plugin/explain.h"
#include "plugin/file_cache.h"
#include "plugin/file_proxy.h"
#include "plugin/image_resolver.h"
#include "plugin/layer_builder.h"
#include "plugin/mirror.h"
#include "plugin/native_pull.h"
#include "plugin/overlay_snapshotter.h"
#include "plugin/preheat.h"
#include "plugin/registrar.h"
#include "plugin/snapshot_service.h"
#include "plugin/takeover.h"
#include "plugin/upkeep.h"
#include "store/store.h"

namespace hearth::cmd {

namespace {

using nlohmann::json;

constexpr std::chrono::milliseconds kGrace{3'000};  // for all servers together
constexpr size_t kServiceThreads = 8;
constexpr size_t kStatusThreads = 2;
// What is passed through and not stored has a client of its own, so that slow readers there hold
// no connection of those that fill the store.
constexpr size_t kPassedConnections = 64;
constexpr size_t kPassedBufferBytes = 64 * 1024;
constexpr std::chrono::milliseconds kTunnelConnectTimeout{10'000};
constexpr size_t kProbeConnections = 4;
constexpr std::chrono::milliseconds kProbeWait{3'000};
constexpr uint64_t kProbeBytes = 64 << 10;

size_t Cores() { return std::max<size_t>(2, std::thread::hardware_concurrency()); }

Result<oci::RegistryHost> HostOf(const config::NodeConfig& config, const std::string& domain) {
  oci::RegistryHost host;
  const auto table = config.registries.find(domain);
  if (table == config.registries.end()) return host;
  host.plain_http = table->second.plain_http;
  host.ca_file = table->second.ca_file;
  host.endpoints = table->second.endpoints;
  if (!table->second.docker_config.empty()) {
    // Read each time: the file is replaced when its secrets change.
    const auto credentials = TRY(oci::DockerConfig::Load(table->second.docker_config));
    host.credential = TRY(credentials.For(domain));
  }
  return host;
}

Result<plugin::ProxyRules> RulesOf(const config::ProxyConfig& config) {
  std::vector<plugin::ProxyRule> rules;
  for (const config::ProxyRule& rule : config.rules) {
    rules.push_back({.match = rule.match,
                     .use_tls = rule.use_tls,
                     .filtered_query_params = rule.filtered_query_params,
                     .tag = rule.tag,
                     .application = rule.application});
  }
  return plugin::ProxyRules::Compile(rules, config.default_filter);
}

// Signals arrive on a descriptor; every thread must have them blocked, so this comes first.
class Signals {
 public:
  Signals() {
    ::sigemptyset(&set_);
    for (const int number : {SIGINT, SIGTERM, SIGHUP}) ::sigaddset(&set_, number);
    ::pthread_sigmask(SIG_BLOCK, &set_, nullptr);
    fd_ = Fd(::signalfd(-1, &set_, SFD_CLOEXEC));
    CHECK(fd_.valid());
  }
  // The next signal; 0 when none came for `wait` (absent = for ever).
  int Wait(std::optional<std::chrono::milliseconds> wait) const {
    pollfd ready{fd_.get(), POLLIN, 0};
    const int timeout_ms = wait ? static_cast<int>(wait->count()) : -1;
    if (::poll(&ready, 1, timeout_ms) <= 0) return 0;
    signalfd_siginfo info{};
    if (::read(fd_.get(), &info, sizeof(info)) != sizeof(info)) return 0;
    return static_cast<int>(info.ssi_signo);
  }

 private:
  sigset_t set_{};
  Fd fd_;
};

// What exists only with a containerd to talk to.
struct ContainerdSide {
  std::unique_ptr<plugin::ContainerdClient> client;
  std::unique_ptr<plugin::Registrar> registrar;
  std::unique_ptr<plugin::DefaultSnapshotter> default_snapshotter;
  std::unique_ptr<plugin::ContainerdWatch> watch;

  ContainerdSide(const config::ContainerdConfig& config, store::Store& store) {
    if (config.address.empty()) return;
    client = plugin::ContainerdClient::Create({.address = config.address});
    registrar = std::make_unique<plugin::Registrar>(
        plugin::Registrar::Options{.containerd = *client,
                                   .blobs = store.blobs(),
                                   .containerd_namespace = config.containerd_namespace});
    default_snapshotter = std::make_unique<plugin::DefaultSnapshotter>(
        plugin::DefaultSnapshotter::Options{.containerd = *client, .address = config.address});
    watch = std::make_unique<plugin::ContainerdWatch>(plugin::ContainerdWatch::Options{
        .containerd = *client, .store = store, .on_answer = [this] { SetDefaultSnapshotter(); }});
  }
  ContainerdSide(const ContainerdSide&) = delete;
  ContainerdSide& operator=(const ContainerdSide&) = delete;

 private:
  void SetDefaultSnapshotter() {
    const auto labelled = default_snapshotter->SetWhereWanted();
    if (!labelled.ok()) {
      LOG_WARNING("default snapshotter not set, it is tried again", {{"error", labelled.status()}});
      return;
    }
    for (const std::string& name : *labelled) {
      LOG_INFO("default snapshotter set", {{"namespace", name}});
    }
  }
};

// What the snapshotter calls for each layer that containerd takes from us.
std::function<void(const std::string&, const store::LayerInfo&, std::function<void()>)> Adopter(
    const ContainerdSide& containerd) {
  if (!containerd.registrar) return nullptr;
  return [&registrar = *containerd.registrar](const std::string& ns, const store::LayerInfo& layer,
                                              std::function<void()> adopted) {
    registrar.AdoptBlob(ns, layer, std::move(adopted));
  };
}

// Where the daemon answers, for the ready line, `status` and the log.
struct Addresses {
  std::string socket;
  std::string admin_socket;
  std::string mirror;
  std::string status;
};

std::string StatusJson(const config::NodeConfig& config, const Addresses& addresses,
                       const ContainerdSide& containerd) {
  json out = {{"version", HEARTH_VERSION},  {"pid", ::getpid()},
              {"name", config.name},        {"root", config.root.string()},
              {"socket", addresses.socket}, {"admin_socket", addresses.admin_socket},
              {"mirror", addresses.mirror}, {"status", addresses.status},
              {"containerd", nullptr}};
  if (containerd.watch) {
    const auto state = containerd.watch->state();
    out["containerd"] = {{"address", config.containerd.address},
                         {"connected", state.connected},
                         {"uuid", state.uuid},
                         {"version", state.version},
                         {"error", state.error}};
  }
  return out.dump(-1, ' ', false, json::error_handler_t::replace);
}

void SayReady(const Common& common, const Addresses& addresses) {
  LOG_INFO(
      "ready",
      {{"socket", addresses.socket}, {"mirror", addresses.mirror}, {"status", addresses.status}});
  if (!common.json) return;
  std::cout << json({{"ready", true},
                     {"socket", addresses.socket},
                     {"admin_socket", addresses.admin_socket},
                     {"mirror", addresses.mirror},
                     {"status", addresses.status}})
                   .dump()
            << std::endl;
}

// Everything that accepts connections. Null until it was started.
struct Servers {
  std::unique_ptr<net::GrpcServer> grpc;
  std::unique_ptr<net::HttpServer> mirror;
  std::unique_ptr<net::HttpServer> status;
  std::unique_ptr<net::HttpServer> admin;

  // Nobody new, then whoever waits; all of them within `grace`.
  void Stop(std::chrono::milliseconds grace) const {
    const auto deadline = std::chrono::steady_clock::now() + grace;
    const auto left = [deadline] {
      const auto time = deadline - std::chrono::steady_clock::now();
      return std::max(std::chrono::milliseconds(0),
                      std::chrono::duration_cast<std::chrono::milliseconds>(time));
    };
    for (const auto* server : {&admin, &status, &mirror}) {
      if (*server) (*server)->Stop(left());
    }
    if (grpc) grpc->Shutdown(left());
  }
};

// An HTTP server of ours that answers at all, with whatever status, is ready.
Probe HttpProbe(net::HttpClient& client, std::string name, const std::string& address,
                const std::string& path) {
  constexpr std::string_view kUnix = "unix:";
  const bool is_unix = address.starts_with(kUnix);
  net::HttpRequest request;
  request.url = "http://" + (is_unix ? "localhost" : address) + path;
  if (is_unix) request.unix_socket = address.substr(kUnix.size());
  request.connect_timeout = kProbeWait;
  request.stall_timeout = kProbeWait;
  return {.name = std::move(name), .where = address, .ask = [&client, request] {
            return client.Fetch(request, kProbeBytes).status();
          }};
}

std::vector<Probe> MakeProbes(net::HttpClient& client, const Addresses& addresses) {
  return {{.name = "containerd_socket",
           .where = addresses.socket,
           .ask = [socket = addresses.socket] { return net::AskGrpcHealth(socket, kProbeWait); }},
          HttpProbe(client, "admin_socket", "unix:" + addresses.admin_socket, "/v1/status"),
          HttpProbe(client, "mirror", addresses.mirror, "/v2/")};
}

// Serves until SIGTERM or SIGINT: reloads, and keeps the service manager's watchdog quiet as long
// as every socket answers.
void WaitForStop(const Common& common, const Signals& signals, const Notifier& notifier,
                 LiveConfig& live, const NodeStatus& status) {
  const std::string serving = "serving; hearth " HEARTH_VERSION;
  notifier.Ready(serving);
  while (true) {
    const int signal = signals.Wait(notifier.keep_alive_interval());
    if (signal == SIGINT || signal == SIGTERM) return;
    if (signal == SIGHUP) {
      notifier.Reloading();
      const Status reloaded = live.Reload(common);
      if (!reloaded.ok()) {
        LOG_ERROR("config not reloaded, the old one stays in force", {{"error", reloaded}});
      }
      notifier.Ready(reloaded.ok() ? serving : "serving; reload failed: " + reloaded.message());
      continue;
    }
    if (const Status ready = status.Ready(); ready.ok()) {
      notifier.KeepAlive();
    } else {
      LOG_WARNING("not ready", {{"error", ready}});
    }
  }
}

// "mirror.listen: listen on 127.0.0.1:7733: … (…)": names the key that says so.
template <typename T>
Result<T> OfKey(Result<T> started, const std::string& key) {
  if (started.ok()) return started;
  return Status(started.status().code(), key + ": " + started.status().message() +
                                             " (stop that process, or set " + key + ")");
}

Status Serve(const Common& common, config::NodeConfig config, const Signals& signals,
             const Notifier& notifier) {
  if (config.name.empty()) {
    char name[256] = {};
    (void)::gethostname(name, sizeof(name) - 1);
    config.name = name;
  }
  TRY_STATUS(MakeDirectories(config.run, 0700));
  LiveConfig live(config);

  TimerQueue timers;
  ThreadPool cpu({.name = "cpu", .threads = Cores(), .queue_limit = 65'536});
  const auto store = TRY(store::Store::Open({.root = config.root, .cpu_pool = cpu, .kv = nullptr}));
  const net::AddressCheck check_address = TRY(AddressCheckOf(live, TRY(RulesOf(config.proxy))));
  const auto http = TRY(net::HttpClient::Create(
      {.user_agent = "hearth/" HEARTH_VERSION, .check_address = check_address}));
  oci::Registry registry(*http, RealClock(), {.host = [&live](const std::string& domain) {
    return HostOf(*live.Get(), domain);
  }});
  plugin::Upkeep upkeep({.store = *store});
  p2p::Swarm swarm({.blobs = store->blobs(), .registry = registry});
  plugin::LayerBuilder builder(
      {.store = *store, .swarm = swarm, .workers = Cores(), .on_committed = [&upkeep] {
         upkeep.Notice();
       }});
  plugin::ChainIndex chains({.blobs = store->blobs(), .kv = store->kv()});
  ContainerdSide containerd(config.containerd, *store);
  plugin::NativePulls pulls({.builder = builder, .chains = chains});
  ThreadPool service_workers(
      {.name = "services", .threads = kServiceThreads, .queue_limit = 65'536});
  ThreadPool unpackers({.name = "apply", .threads = Cores(), .queue_limit = 4096});
  plugin::OverlaySnapshotter snapshotter(
      {.store = *store,
       .workers = service_workers,
       .unpackers = unpackers,
       .timers = timers,
       .chains = &chains,
       .builder = &builder,
       .pulls = &pulls,
       .adopt = Adopter(containerd),
       .on_removed = [&upkeep] { upkeep.Notice(); },
       .prepare_wait =
           std::chrono::duration_cast<std::chrono::milliseconds>(config.containerd.prepare_wait)});

  plugin::ImageResolver resolver(registry, store->blobs());
  plugin::Preheater preheater({.store = *store,
                               .resolver = resolver,
                               .swarm = swarm,
                               .builder = builder,
                               .chains = chains,
                               .registrar = containerd.registrar.get()});
  plugin::Explainer explainer(
      {.store = *store, .resolver = resolver, .registrar = containerd.registrar.get()});
  plugin::FileCache files({.blobs = store->blobs(),
                           .ingests = store->ingests(),
                           .kv = store->kv(),
                           .client = *http,
                           .rules = TRY(RulesOf(config.proxy)),
                           .allow_offline = config.proxy.offline_allow});
  const auto passing = TRY(net::HttpClient::Create({.max_connections = kPassedConnections,
                                                    .receive_buffer_bytes = kPassedBufferBytes,
                                                    .user_agent = "hearth/" HEARTH_VERSION,
                                                    .check_address = check_address}));
  plugin::FileProxy file_proxy(
      {.files = files,
       .client = *passing,
       .timers = timers,
       .connect = [&check_address](const std::string& host, uint16_t port) {
         return net::ConnectTcp(host, port, check_address, kTunnelConnectTimeout);
       }});
  std::optional<plugin::Takeover> takeover;
  if (containerd.client) {
    takeover.emplace(plugin::Takeover::Options{
        .store = *store, .builder = builder, .containerd = *containerd.client});
  }
  Addresses addresses;
  plugin::Admin admin(
      {.store = *store,
       .preheater = preheater,
       .explainer = explainer,
       .files = files,
       .timers = timers,
       .takeover = takeover ? &*takeover : nullptr,
       .default_depth = containerd.registrar ? plugin::Depth::kImage : plugin::Depth::kLayers,
       .status = [&] { return StatusJson(config, addresses, containerd); }});
  plugin::Mirror mirror(
      {.blobs = store->blobs(),
       .swarm = swarm,
       .registry = registry,
       .timers = timers,
       .observer = &chains,
       .auth_cache = std::chrono::duration_cast<std::chrono::seconds>(config.mirror.auth_cache)});

  plugin::ContentService content({.blobs = store->blobs(),
                                  .ingests = store->ingests(),
                                  .workers = service_workers,
                                  .observer = &chains});
  plugin::SnapshotService snapshots({.snapshotter = snapshotter, .workers = service_workers});
  plugin::DiffService diff({.snapshotter = snapshotter, .workers = service_workers});
  const auto probe_client = TRY(net::HttpClient::Create({.max_connections = kProbeConnections,
                                                         .receive_buffer_bytes = kProbeBytes,
                                                         .check_address = nullptr}));
  Servers servers;
  std::optional<NodeStatus> status;
  const auto readings = [&] {
    std::vector<Reading> out;
    AddBuildReading(out);
    AddStoreReadings(*store, out);
    AddQueueReadings({{"cpu", &cpu}, {"services", &service_workers}, {"apply", &unpackers}}, out);
    if (containerd.watch) {
      out.push_back(ContainerdReading(containerd.watch->state().connected));
    }
    return out;
  };
  const auto start = [&]() -> Status {
    servers.grpc = TRY(OfKey(
        net::GrpcServer::Start(
            {.socket = config.Socket(),
             .services = {content.service(), snapshots.service(), diff.service()},
             .admit =
                 [&containerd](const net::GrpcPeer& peer) {
                   const bool own = peer.pid == ::getpid();  // asks itself whether it answers
                   return containerd.watch && !own ? containerd.watch->Admit(peer.pid) : OkStatus();
                 }}),
        "run"));
    servers.mirror = TRY(OfKey(
        net::HttpServer::Start({.listen = config.mirror.listen, .handler_threads = kServiceThreads},
                               Counted("mirror", MirrorRoute,
                                       [&mirror, &file_proxy](net::ServerRequest request,
                                                              net::HttpServer::Respond respond) {
                                         if (plugin::FileProxy::Takes(request)) {
                                           return file_proxy.Handle(std::move(request),
                                                                    std::move(respond));
                                         }
                                         mirror.Handle(std::move(request), std::move(respond));
                                       })),
        "mirror.listen"));
    file_proxy.SetAddress(servers.mirror->address());
    addresses = {config.Socket().string(), config.AdminSocket().string(), servers.mirror->address(),
                 ""};
    status.emplace(
        NodeStatus::Options{.probes = MakeProbes(*probe_client, addresses), .readings = readings});
    servers.status =
        TRY(OfKey(net::HttpServer::Start(
                      {.listen = config.status_listen, .handler_threads = kStatusThreads},
                      [&status](net::ServerRequest request, net::HttpServer::Respond respond) {
                        status->Handle(request, respond);
                      }),
                  "status.listen"));
    // Written before anybody can ask the admin socket for them.
    addresses.status = servers.status->address();
    servers.admin = TRY(OfKey(
        net::HttpServer::Start(
            {.listen = "unix:" + config.AdminSocket().string(), .handler_threads = kServiceThreads},
            [&admin](net::ServerRequest request, net::HttpServer::Respond respond) {
              admin.Handle(std::move(request), std::move(respond));
            }),
        "run"));
    return status->Ready();
  };
  const Status started = start();
  if (started.ok()) {
    SayReady(common, addresses);
    WaitForStop(common, signals, notifier, live, *status);
  }

  // Nobody new, then whoever waits, then the work, each with nothing left that could call it; the
  // same where the start failed half-way.
  LOG_INFO("stopping");
  notifier.Stopping();
  swarm.Stop();
  if (containerd.client) containerd.client->Stop();
  admin.Stop();
  files.Stop();
  builder.Stop();
  servers.Stop(kGrace);
  file_proxy.Stop();
  timers.Stop();
  if (containerd.registrar) containerd.registrar->Stop();
  unpackers.Join();
  service_workers.Join();
  return started;
}

}  // namespace

int RunNode(const Common& common) {
  auto config = LoadConfig(common);
  if (!config.ok()) return Fail("config", config.status());
  const Notifier notifier = Notifier::FromEnvironment();  // before there are threads
  const Signals signals;
  ::umask(0);  // layers get the modes that their tars say
  const Status status = Serve(common, std::move(*config), signals, notifier);
  return status.ok() ? kDone : Fail("node", status);
}

}  // namespace hearth::cmd
