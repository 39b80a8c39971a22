// ClusterSide: what a node has only with a cluster: membership, the two peer ports, the streams to
// neighbours and to the manager.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/metrics.h"
#include "base/status.h"
#include "base/thread.h"
#include "base/timer.h"
#include "config/node_config.h"
#include "net/http_client.h"
#include "p2p/cluster.h"
#include "p2p/limiter.h"
#include "p2p/membership.h"
#include "p2p/neighbour_client.h"
#include "p2p/neighbour_service.h"
#include "p2p/peer_client.h"
#include "p2p/peer_server.h"
#include "p2p/private_blobs.h"
#include "p2p/tracker_client.h"
#include "plugin/order_book.h"
#include "plugin/order_client.h"
#include "store/store.h"

namespace hearth::cmd {

class ClusterSide {
 public:
  struct Options {
    const config::NodeConfig& config;
    store::Store& store;
    ThreadPool& cpu;
    TimerQueue& timers;
    p2p::Limiter& limiter;
    p2p::PrivateBlobs& private_blobs;
  };
  // Null where the config names no manager. The data port is bound; nobody gets in before the node
  // has joined. What is in `options` outlives this.
  static Result<std::unique_ptr<ClusterSide>> Open(Options options);
  ~ClusterSide();

  p2p::Cluster& cluster() { return *cluster_; }
  // Joins in the background, then opens the control port and the streams. `orders` outlives this.
  void Start(plugin::OrderBook& orders);
  // After the swarm's. Idempotent.
  void Stop(std::chrono::milliseconds grace);

  struct State {
    std::string cluster;
    std::string node_id;
    std::string data_address;
    std::string control_address;  // "" = not joined yet
    Status membership;
    Status tracker;
    size_t neighbours = 0;
  };
  State state() const;
  void AddReadings(std::vector<Reading>& out) const;

 private:
  explicit ClusterSide(Options options) : options_(options) {}
  Status OpenParts();
  // On the membership's thread, once.
  void Joined();
  Status OpenStreams();

  const Options options_;
  std::unique_ptr<net::HttpClient> client_;
  std::unique_ptr<p2p::Membership> membership_;
  std::unique_ptr<p2p::Attester> attester_;
  std::unique_ptr<p2p::PeerClient> peers_;
  std::unique_ptr<p2p::Cluster> cluster_;
  std::unique_ptr<p2p::PeerServer> server_;

  mutable Mutex mutex_;
  bool stopped_ GUARDED_BY(mutex_) = false;
  std::string control_address_ GUARDED_BY(mutex_);
  Status opened_ GUARDED_BY(mutex_);
  // Made by Joined(), taken down by Stop() after the membership's thread has ended.
  std::shared_ptr<grpc::Service> service_;
  std::unique_ptr<net::GrpcTlsServer> control_;
  std::unique_ptr<p2p::NeighbourClient> neighbours_;
  std::optional<net::TlsChannels> managers_;
  std::unique_ptr<p2p::TrackerClient> tracker_;
  plugin::OrderBook* orders_ = nullptr;
  std::unique_ptr<plugin::OrderClient> order_client_;
};

}  // namespace hearth::cmd
