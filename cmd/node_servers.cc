#include "cmd/node_servers.h"

#include <unistd.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

#include "cmd/node_readings.h"

namespace hearth::cmd {

namespace {

using nlohmann::json;

constexpr size_t kHandlerThreads = 8;
constexpr size_t kStatusThreads = 2;

json ClusterJson(const ClusterSide::State& state) {
  return {{"name", state.cluster},
          {"node_id", state.node_id},
          {"data_address", state.data_address},
          {"control_address", state.control_address},
          {"joined", state.membership.ok()},
          {"manager_connected", state.tracker.ok()},
          {"neighbours", state.neighbours},
          {"error", state.membership.ok() ? "" : state.membership.message()}};
}

// "mirror.listen: listen on 127.0.0.1:7733: … (…)": names the key that says so.
template <typename T>
Result<T> OfKey(Result<T> started, const std::string& key) {
  if (started.ok()) return started;
  return Status(started.status().code(), key + ": " + started.status().message() +
                                             " (stop that process, or set " + key + ")");
}

}  // namespace

NodeServers::NodeServers(NodeBase& base, ImageSide& images, FileSide& files,
                         std::unique_ptr<net::HttpClient> probe_client)
    : base_(base),
      images_(images),
      files_(files),
      probe_client_(std::move(probe_client)),
      store_readings_([&base](std::vector<Reading>& out) { AddStoreReadings(*base.store, out); }),
      admin_({.store = *base.store,
              .collector = *base.collector,
              .preheater = images.preheater,
              .explainer = images.explainer,
              .files = files.files,
              .timers = base.timers,
              .resolver = images.resolver,
              .sole = images.sole,
              .containerd = images.containerd.client.get(),
              .takeover = images.takeover ? &*images.takeover : nullptr,
              .repair = images.repair ? &*images.repair : nullptr,
              .handback = images.handback ? &*images.handback : nullptr,
              .default_depth =
                  images.containerd.registrar ? plugin::Depth::kImage : plugin::Depth::kLayers,
              .status = [this] { return StatusJson(); }}),
      content_({.blobs = base.store->blobs(),
                .ingests = base.store->ingests(),
                .workers = base.services,
                .quick = base.quick,
                .observer = &images.chains}),
      snapshots_({.snapshotter = images.snapshotter,
                  .workers = base.services,
                  .quick = base.quick,
                  .names = &images.names}),
      diff_({.snapshotter = images.snapshotter,
             .workers = base.services,
             .containerd_address = base.config.containerd.address}) {}

// --- what they say of the node ---

std::string NodeServers::StatusJson() const {
  const config::NodeConfig& config = base_.config;
  json out = {{"version", HEARTH_VERSION},   {"pid", ::getpid()},
              {"name", config.name},         {"root", config.root.string()},
              {"socket", addresses_.socket}, {"admin_socket", addresses_.admin_socket},
              {"mirror", addresses_.mirror}, {"status", addresses_.status},
              {"containerd", nullptr},       {"cluster", nullptr}};
  if (base_.cluster) out["cluster"] = ClusterJson(base_.cluster->state());
  if (images_.containerd.watch) {
    const auto state = images_.containerd.watch->state();
    out["containerd"] = {{"address", config.containerd.address},
                         {"connected", state.connected},
                         {"uuid", state.uuid},
                         {"version", state.version},
                         {"error", state.error}};
  }
  return out.dump(-1, ' ', false, json::error_handler_t::replace);
}

std::vector<Reading> NodeServers::Readings() {
  std::vector<Reading> out;
  AddBuildReading(out);
  store_readings_.AddTo(out);
  AddSpaceReadings(*base_.store, out);
  if (base_.cluster) base_.cluster->AddReadings(out);
  AddQueueReadings({{"cpu", &base_.cpu},
                    {"services", &base_.services},
                    {"quick", &base_.quick},
                    {"apply", &base_.unpackers}},
                   out);
  if (images_.containerd.watch) {
    out.push_back(ContainerdReading(images_.containerd.watch->state().connected));
  }
  return out;
}

std::vector<Probe> NodeServers::Probes() {
  return {
      {.name = "containerd_socket",
       .where = addresses_.socket,
       .ask = [socket = addresses_.socket] { return net::AskGrpcHealth(socket, kProbeWait); }},
      HttpProbe(*probe_client_, "admin_socket", "unix:" + addresses_.admin_socket, "/v1/status"),
      HttpProbe(*probe_client_, "mirror", addresses_.mirror, "/v2/")};
}

// --- start and stop ---

Status NodeServers::Start() {
  addresses_.socket = base_.config.Socket().string();
  addresses_.admin_socket = base_.config.AdminSocket().string();
  TRY_STATUS(StartGrpc());
  TRY_STATUS(StartMirror());
  TRY_STATUS(StartStatus());
  TRY_STATUS(StartAdmin());
  return Ready();
}

Status NodeServers::StartGrpc() {
  grpc_ = TRY(OfKey(net::GrpcServer::Start(
                        {.socket = addresses_.socket,
                         .services = {content_.service(), snapshots_.service(), diff_.service()},
                         .admit =
                             [&watch = images_.containerd.watch](const net::GrpcPeer& peer) {
                               // We ask ourselves whether we answer.
                               const bool own = peer.pid == ::getpid();
                               return watch && !own ? watch->Admit(peer.pid) : OkStatus();
                             }}),
                    "run"));
  return OkStatus();
}

Status NodeServers::StartMirror() {
  mirror_server_ =
      TRY(OfKey(net::HttpServer::Start(
                    {.listen = base_.config.mirror.listen,
                     .io_threads = std::min<size_t>(base_.cores, 2),
                     .handler_threads = kHandlerThreads},
                    Counted("mirror", MirrorRoute,
                            [this](net::ServerRequest request, net::HttpServer::Respond respond) {
                              if (plugin::FileProxy::Takes(request)) {
                                return files_.proxy.Handle(std::move(request), std::move(respond));
                              }
                              images_.mirror.Handle(std::move(request), std::move(respond));
                            })),
                "mirror.listen"));
  addresses_.mirror = mirror_server_->address();
  files_.proxy.SetAddress(addresses_.mirror);
  return OkStatus();
}

Status NodeServers::StartStatus() {
  status_.emplace(
      NodeStatus::Options{.probes = Probes(), .readings = [this] { return Readings(); }});
  status_server_ = TRY(
      OfKey(net::HttpServer::Start(
                {.listen = base_.config.status_listen, .handler_threads = kStatusThreads},
                [this](const net::ServerRequest& request, const net::HttpServer::Respond& respond) {
                  status_->Handle(request, respond);
                }),
            "status.listen"));
  addresses_.status = status_server_->address();
  return OkStatus();
}

Status NodeServers::StartAdmin() {
  admin_server_ = TRY(
      OfKey(net::HttpServer::Start(
                {.listen = "unix:" + addresses_.admin_socket, .handler_threads = kHandlerThreads},
                [this](net::ServerRequest request, net::HttpServer::Respond respond) {
                  admin_.Handle(std::move(request), std::move(respond));
                }),
            "run"));
  return OkStatus();
}

void NodeServers::Stop(std::chrono::milliseconds grace) const {
  const auto deadline = std::chrono::steady_clock::now() + grace;
  const auto left = [deadline] {
    const auto time = deadline - std::chrono::steady_clock::now();
    return std::max(std::chrono::milliseconds(0),
                    std::chrono::duration_cast<std::chrono::milliseconds>(time));
  };
  for (const auto* server : {&admin_server_, &status_server_, &mirror_server_}) {
    if (*server) (*server)->Stop(left());
  }
  if (grpc_) grpc_->Shutdown(left());
}

}  // namespace hearth::cmd
