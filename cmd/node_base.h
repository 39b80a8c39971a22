// NodeBase: what all of a node stands on: its config, threads, store, and ways to the bytes of
// others.
//
// The members are in order of dependency; whoever uses them is destroyed before.
#pragma once

#include <memory>
#include <optional>

#include "base/status.h"
#include "base/thread.h"
#include "base/timer.h"
#include "cmd/cluster_side.h"
#include "cmd/live_config.h"
#include "config/node_config.h"
#include "net/connector.h"
#include "net/http_client.h"
#include "oci/registry.h"
#include "p2p/limiter.h"
#include "p2p/private_blobs.h"
#include "p2p/swarm.h"
#include "plugin/upkeep.h"
#include "store/collector.h"
#include "store/store.h"

namespace hearth::cmd {

struct NodeBase {
  // Opens the store and binds the data port. Errors say what is in the way: a key of the config,
  // the store.
  static Result<std::unique_ptr<NodeBase>> Open(config::NodeConfig config);
  NodeBase(const NodeBase&) = delete;
  NodeBase& operator=(const NodeBase&) = delete;

  const config::NodeConfig config;  // as at the start; `live` is the one in force
  const size_t cores = Cores();     // of what keeps a core busy, so many at once
  LiveConfig live;
  TimerQueue timers;
  ThreadPool cpu;
  ThreadPool services;
  ThreadPool quick;  // for calls that must not wait behind writes
  ThreadPool unpackers;
  std::unique_ptr<store::Store> store;
  net::AddressCheck check_address;
  std::unique_ptr<net::HttpClient> http;
  std::optional<oci::Registry> registry;
  std::optional<store::Collector> collector;
  std::optional<plugin::Upkeep> upkeep;  // begins, and ends, while there is all that it sweeps
  p2p::Limiter limiter;
  std::optional<p2p::PrivateBlobs> private_blobs;
  std::unique_ptr<ClusterSide> cluster;  // null where the config names no manager
  std::optional<p2p::Swarm> swarm;

 private:
  static size_t Cores();
  explicit NodeBase(config::NodeConfig own_config);
  Status OpenParts();
};

}  // namespace hearth::cmd
