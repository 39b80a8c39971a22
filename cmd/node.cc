// hearth node: builds the daemon's parts in order of dependency and waits for a signal.
#include <signal.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <iostream>
#include <nlohmann/json.hpp>
#include <thread>

#include "base/log.h"
#include "base/timer.h"
#include "cmd/commands.h"
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

net::ServerResponse TextResponse(int status, std::string text) {
  net::ServerResponse response;
  response.status = status;
  response.headers.Add("Content-Type", "text/plain; charset=utf-8");
  response.body = std::move(text);
  return response;
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
  int Wait() const {
    signalfd_siginfo info{};
    while (::read(fd_.get(), &info, sizeof(info)) != sizeof(info)) {
    }
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

Result<std::unique_ptr<net::HttpServer>> StartStatus(const config::NodeConfig& config) {
  return net::HttpServer::Start(
      {.listen = config.status_listen, .handler_threads = kStatusThreads},
      [](net::ServerRequest request, net::HttpServer::Respond respond) {
        const bool known = request.path == "/livez" || request.path == "/readyz";
        respond(TextResponse(known ? 200 : 404, known ? "ok\n" : "not found\n"));
      });
}

Status Serve(const Common& common, config::NodeConfig config, const Signals& signals) {
  if (config.name.empty()) {
    char name[256] = {};
    (void)::gethostname(name, sizeof(name) - 1);
    config.name = name;
  }
  TRY_STATUS(MakeDirectories(config.run, 0700));

  TimerQueue timers;
  ThreadPool cpu({.name = "cpu", .threads = Cores(), .queue_limit = 65'536});
  const auto store = TRY(store::Store::Open({.root = config.root, .cpu_pool = cpu, .kv = nullptr}));
  const auto http = TRY(
      net::HttpClient::Create({.user_agent = "hearth/" HEARTH_VERSION, .check_address = nullptr}));
  oci::Registry registry(*http, RealClock(), {.host = [&config](const std::string& domain) {
    return HostOf(config, domain);
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
                                                    .check_address = nullptr}));
  plugin::FileProxy file_proxy({.files = files,
                                .client = *passing,
                                .timers = timers,
                                .connect = [](const std::string& host, uint16_t port) {
                                  return net::ConnectTcp(host, port, nullptr,
                                                         kTunnelConnectTimeout);
                                }});
  Addresses addresses;
  plugin::Admin admin(
      {.store = *store,
       .preheater = preheater,
       .explainer = explainer,
       .files = files,
       .timers = timers,
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
  const auto grpc = TRY(net::GrpcServer::Start(
      {.socket = config.Socket(),
       .services = {content.service(), snapshots.service(), diff.service()},
       .admit = [&containerd](const net::GrpcPeer& peer) {
         return containerd.watch ? containerd.watch->Admit(peer.pid) : OkStatus();
       }}));
  const auto mirror_server = TRY(net::HttpServer::Start(
      {.listen = config.mirror.listen, .handler_threads = kServiceThreads},
      [&mirror, &file_proxy](net::ServerRequest request, net::HttpServer::Respond respond) {
        if (plugin::FileProxy::Takes(request)) {
          return file_proxy.Handle(std::move(request), std::move(respond));
        }
        mirror.Handle(std::move(request), std::move(respond));
      }));
  file_proxy.SetAddress(mirror_server->address());
  const auto status_server = TRY(StartStatus(config));
  // Written before anybody can ask for them.
  addresses = {config.Socket().string(), config.AdminSocket().string(), mirror_server->address(),
               status_server->address()};
  const auto admin_server = TRY(net::HttpServer::Start(
      {.listen = "unix:" + config.AdminSocket().string(), .handler_threads = kServiceThreads},
      [&admin](net::ServerRequest request, net::HttpServer::Respond respond) {
        admin.Handle(std::move(request), std::move(respond));
      }));
  SayReady(common, addresses);

  while (signals.Wait() == SIGHUP) LOG_INFO("nothing to reload: restart to apply a new config");

  // Nobody new, then whoever waits, then the work, each with nothing left that could call it.
  LOG_INFO("stopping");
  swarm.Stop();
  if (containerd.client) containerd.client->Stop();
  admin.Stop();
  files.Stop();
  builder.Stop();
  const auto deadline = std::chrono::steady_clock::now() + kGrace;
  const auto left = [deadline] {
    const auto time = deadline - std::chrono::steady_clock::now();
    return std::max(std::chrono::milliseconds(0),
                    std::chrono::duration_cast<std::chrono::milliseconds>(time));
  };
  admin_server->Stop(left());
  status_server->Stop(left());
  mirror_server->Stop(left());
  file_proxy.Stop();
  grpc->Shutdown(left());
  timers.Stop();
  if (containerd.registrar) containerd.registrar->Stop();
  unpackers.Join();
  service_workers.Join();
  return OkStatus();
}

}  // namespace

int RunNode(const Common& common) {
  auto config = LoadConfig(common);
  if (!config.ok()) return Fail("config", config.status());
  const Signals signals;
  ::umask(0);  // layers get the modes that their tars say
  const Status status = Serve(common, std::move(*config), signals);
  return status.ok() ? kDone : Fail("node", status);
}

}  // namespace hearth::cmd
