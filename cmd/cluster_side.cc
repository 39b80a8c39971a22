#include "cmd/cluster_side.h"

#include <netdb.h>
#include <sys/socket.h>
#include <sys/statvfs.h>

#include <utility>

#include "base/host_port.h"
#include "base/log.h"
#include "net/socket_name.h"
#include "p2p/neighbour_stream.h"
#include "p2p/traffic.h"

namespace hearth::cmd {

namespace {

// Pieces are at most 4 MiB and few at once; large buffers would only cost memory.
constexpr size_t kPeerConnections = 48;
constexpr size_t kPeerBufferBytes = 128 * 1024;
constexpr uint64_t kControlMemoryBytes = 8ull << 20;

// Our address on the way to `address`; "" where there is no route. Nothing is sent.
std::string RouteTo(const std::string& address) {
  const auto to = HostPort::Parse(address);
  if (!to.ok()) return "";
  addrinfo hints{};
  hints.ai_socktype = SOCK_DGRAM;
  addrinfo* found = nullptr;
  if (::getaddrinfo(to->host.c_str(), std::to_string(to->port).c_str(), &hints, &found) != 0)
    return "";
  const std::unique_ptr<addrinfo, decltype(&::freeaddrinfo)> list(found, ::freeaddrinfo);
  for (const addrinfo* entry = found; entry != nullptr; entry = entry->ai_next) {
    const Fd socket(::socket(entry->ai_family, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    if (socket.valid() && ::connect(socket.get(), entry->ai_addr, entry->ai_addrlen) == 0) {
      return net::LocalName(socket.get()).host;
    }
  }
  return "";
}

// Where others reach what listens on `address`.
std::string Advertised(const config::NodeConfig& config, const std::string& address) {
  auto own = HostPort::Parse(address);
  if (!own.ok()) return address;
  if (!config.peer.advertise.empty()) {
    own->host = config.peer.advertise;
    if (own->host.starts_with('[')) own->host = own->host.substr(1, own->host.size() - 2);
    return own->ToString();
  }
  if (own->host != "0.0.0.0" && own->host != "::") return address;
  for (const std::string& manager : config.manager.addresses) {
    std::string host = RouteTo(manager);
    if (!host.empty()) return HostPort{std::move(host), own->port}.ToString();
  }
  return address;
}

}  // namespace

Result<std::unique_ptr<ClusterSide>> ClusterSide::Open(Options options) {
  if (options.config.manager.addresses.empty()) return std::unique_ptr<ClusterSide>();
  auto side = std::unique_ptr<ClusterSide>(new ClusterSide(options));
  TRY_STATUS(side->OpenParts());
  return side;
}

ClusterSide::~ClusterSide() { Stop(std::chrono::milliseconds(0)); }

Status ClusterSide::OpenParts() {
  const config::NodeConfig& config = options_.config;
  const auto identity = [this]() -> std::shared_ptr<const net::TlsIdentity> {
    return membership_ ? membership_->identity() : nullptr;
  };
  const auto may_share = [this](const Digest& blob) {
    return !options_.private_blobs.Contains(blob);
  };
  client_ = TRY(net::HttpClient::Create({.max_connections = kPeerConnections,
                                         .receive_buffer_bytes = kPeerBufferBytes,
                                         .user_agent = "hearth/" HEARTH_VERSION,
                                         .check_address = nullptr}));
  server_ = TRY(p2p::PeerServer::Start({.listen = config.peer.data_listen,
                                        .identity = identity,
                                        .cluster = config.manager.cluster,
                                        .blobs = options_.store.blobs(),
                                        .limiter = options_.limiter,
                                        .timers = options_.timers,
                                        .uploads = config.limits.uploads,
                                        .may_ask =
                                            [this](const std::string& node) {
                                              return cluster_ && cluster_->MayAsk(node);
                                            },
                                        .may_share = may_share,
                                        .holders =
                                            [this](const Digest& blob, PieceIndex piece) {
                                              return cluster_ ? cluster_->Holders(blob, piece) : 0;
                                            }})
                    .Annotate("peer.data_listen"));
  membership_ = TRY(p2p::Membership::Open(
      {.folder = config.root / "identity",
       .managers = config.manager.addresses,
       .cluster = config.manager.cluster,
       .join_token_file = config.manager.join_token_file,
       .node = {.name = config.name,
                .labels = config.labels,
                .data_address = Advertised(config, server_->address()),
                .control_address = Advertised(config, config.peer.control_listen),
                .program_version = HEARTH_VERSION},
       .joined = [this] { Joined(); }}));
  attester_ = std::make_unique<p2p::Attester>(
      p2p::Attester::Options{.identity = identity, .cluster = config.manager.cluster});
  peers_ =
      std::make_unique<p2p::PeerClient>(p2p::PeerClient::Options{.client = *client_,
                                                                 .identity = identity,
                                                                 .cluster = config.manager.cluster,
                                                                 .limiter = options_.limiter,
                                                                 .timers = options_.timers});
  cluster_ = std::make_unique<p2p::Cluster>(p2p::Cluster::Options{.node_id = membership_->node_id(),
                                                                  .blobs = options_.store.blobs(),
                                                                  .peers = *peers_,
                                                                  .attester = *attester_,
                                                                  .cpu = options_.cpu,
                                                                  .limiter = options_.limiter,
                                                                  .timers = options_.timers,
                                                                  .may_share = may_share});
  return OkStatus();
}

void ClusterSide::Start(plugin::OrderBook& orders) {
  orders_ = &orders;
  membership_->Start();
}

void ClusterSide::Joined() {
  const Status opened = OpenStreams();
  if (!opened.ok()) {
    LOG_ERROR("no streams to the cluster; this node works alone (restart it once that is mended)",
              {{"error", opened}});
  }
  MutexLock lock(mutex_);
  opened_ = opened;
}

Status ClusterSide::OpenStreams() {
  const config::NodeConfig& config = options_.config;
  const auto tls = TRY(net::TlsWatch::Start(membership_->files()));
  v1::NeighbourHello hello;
  hello.set_name(config.name.substr(0, 64));
  hello.set_data_address(Advertised(config, server_->address()));
  hello.mutable_versions()->set_program(HEARTH_VERSION);
  hello.mutable_versions()->set_protocol_min(1);
  hello.mutable_versions()->set_protocol_max(p2p::kNeighbourProtocol);
  service_ = p2p::MakeNeighbourService(*cluster_, config.manager.cluster, hello);
  control_ = TRY(net::GrpcTlsServer::Start({.listen = config.peer.control_listen,
                                            .tls = tls,
                                            .services = {service_.get()},
                                            .memory_bytes = kControlMemoryBytes,
                                            .max_message_bytes = p2p::kMaxNeighbourMessageBytes})
                     .Annotate("peer.control_listen"));
  neighbours_ = std::make_unique<p2p::NeighbourClient>(
      p2p::NeighbourClient::Options{.cluster = *cluster_, .tls = tls, .own = hello});
  const std::string control = Advertised(config, control_->address());
  {
    MutexLock lock(mutex_);
    control_address_ = control;
  }
  v1::NodeInfo node;
  node.set_name(config.name);
  for (const auto& [label, value] : config.labels) (*node.mutable_labels())[label] = value;
  node.set_data_address(hello.data_address());
  node.set_control_address(control);
  managers_.emplace(tls);
  tracker_ = std::make_unique<p2p::TrackerClient>(p2p::TrackerClient::Options{
      .addresses = config.manager.addresses,
      .channels = *managers_,
      .cluster = *cluster_,
      .blobs = options_.store.blobs(),
      .node = std::move(node),
      .program = HEARTH_VERSION,
      .heartbeat =
          [root = config.root] {
            v1::Heartbeat beat;
            struct statvfs disk {};
            if (::statvfs(root.c_str(), &disk) == 0) {
              beat.set_disk_free_bytes(uint64_t{disk.f_bavail} * disk.f_frsize);
              beat.set_disk_total_bytes(uint64_t{disk.f_blocks} * disk.f_frsize);
            }
            const p2p::TrafficTotals totals = p2p::Totals();
            beat.set_origin_bytes(totals.from_origins);
            beat.set_peer_bytes(totals.from_peers);
            beat.set_uploaded_bytes(totals.to_peers);
            return beat;
          },
      .may_share = [this](const Digest& blob) { return !options_.private_blobs.Contains(blob); }});
  cluster_->Connect(tracker_.get(), neighbours_.get());
  order_client_ = std::make_unique<plugin::OrderClient>(
      plugin::OrderClient::Options{.addresses = config.manager.addresses,
                                   .channels = *managers_,
                                   .book = *orders_,
                                   .program = HEARTH_VERSION});
  return OkStatus();
}

void ClusterSide::Stop(std::chrono::milliseconds grace) {
  {
    MutexLock lock(mutex_);
    if (std::exchange(stopped_, true)) return;
  }
  if (membership_) membership_->Stop();
  if (order_client_) order_client_->Stop();
  if (tracker_) tracker_->Stop();
  if (neighbours_) neighbours_->Stop();
  // Neighbours' streams have no end of their own to wait for.
  if (control_) control_->Shutdown(std::chrono::milliseconds(0));
  if (cluster_) cluster_->Connect(nullptr, nullptr);
  if (server_) server_->Stop(grace);
}

ClusterSide::State ClusterSide::state() const {
  State state{.cluster = options_.config.manager.cluster,
              .node_id = membership_->node_id(),
              .data_address = server_->address(),
              .control_address = "",
              .membership = membership_->state(),
              .tracker = cluster_->has_tracker() ? OkStatus() : Unavailable("no stream"),
              .neighbours = cluster_->neighbours()};
  MutexLock lock(mutex_);
  state.control_address = control_address_;
  if (!opened_.ok()) state.membership = opened_;
  return state;
}

void ClusterSide::AddReadings(std::vector<Reading>& out) const {
  out.push_back({.name = "hearth_neighbours",
                 .help = "Nodes that this one has a stream to.",
                 .labels = {},
                 .value = static_cast<double>(cluster_->neighbours())});
  out.push_back({.name = "hearth_manager_connected",
                 .help = "1 while there is a stream to a manager.",
                 .labels = {},
                 .value = cluster_->has_tracker() ? 1.0 : 0.0});
}

}  // namespace hearth::cmd
