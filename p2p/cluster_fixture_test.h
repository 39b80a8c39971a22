// ClusterFixture: for tests, nodes of one cluster in one process: real stores, ports and streams on
// loopback, a registry that counts its bytes, and a tracker that does what the test says.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <filesystem>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "base/raw_digest.h"
#include "net/grpc_tls.h"
#include "net/http_client.h"
#include "oci/registry_fixture.h"
#include "p2p/attester.h"
#include "p2p/cluster.h"
#include "p2p/cluster_parts_test.h"
#include "p2p/cluster_transfer.h"
#include "p2p/neighbour_client.h"
#include "p2p/neighbour_service.h"
#include "p2p/neighbour_stream.h"
#include "p2p/peer_client.h"
#include "p2p/peer_server.h"
#include "p2p/private_blobs.h"
#include "p2p/swarm.h"
#include "store/faulty.h"

namespace hearth::p2p {

// One node, without what containerd sees.
struct TestNode {
  TestNode(const TestAuthority& authority, oci::Registry& registry,
           std::function<bool(const std::string&)> is_private = nullptr, Limiter::Rates rates = {},
           uint32_t protocol = kNeighbourProtocol)
      : member(authority.Issue(scratch.path())),
        identity([source = member.identity] { return source; }),
        limiter(rates),
        kv(kv::MakeMemoryKv()),
        store(Must(store::BlobStore::Open(
            {.root = Made(scratch.path() / "store"), .kv = *kv, .cpu_pool = pool}))),
        client(Must(net::HttpClient::Create({}))),
        attester({.identity = identity, .cluster = kLab}),
        peers({.client = *client,
               .identity = identity,
               .cluster = kLab,
               .limiter = limiter,
               .timers = timers}),
        private_blobs(*kv),
        cluster(
            {.node_id = member.id,
             .blobs = *store,
             .peers = peers,
             .attester = attester,
             .cpu = pool,
             .limiter = limiter,
             .timers = timers,
             .may_share = [this](const Digest& blob) { return !private_blobs.Contains(blob); }}),
        server(Must(PeerServer::Start(
            {.listen = "127.0.0.1:0",
             .identity = identity,
             .cluster = kLab,
             .blobs = *store,
             .limiter = limiter,
             .timers = timers,
             .may_ask = [this](const std::string& id) { return cluster.MayAsk(id); },
             .may_share = [this](const Digest& blob) { return !private_blobs.Contains(blob); }}))) {
    const auto tls = Must(net::TlsWatch::Start(member.files));
    v1::NeighbourHello hello;
    hello.set_name("node " + member.id.substr(0, 4));
    hello.set_data_address(server->address());
    hello.mutable_versions()->set_protocol_min(1);
    hello.mutable_versions()->set_protocol_max(protocol);
    service = MakeNeighbourService(cluster, kLab, hello);
    control = Must(net::GrpcTlsServer::Start({.listen = "127.0.0.1:0",
                                              .tls = tls,
                                              .services = {service.get()},
                                              .max_message_bytes = kMaxNeighbourMessageBytes}));
    dialer = std::make_unique<NeighbourClient>(
        NeighbourClient::Options{.cluster = cluster, .tls = tls, .own = hello});
    cluster.Connect(&tracker, dialer.get());
    swarm = std::make_unique<Swarm>(Swarm::Options{.blobs = *store,
                                                   .registry = registry,
                                                   .cluster = &cluster,
                                                   .is_private = std::move(is_private),
                                                   .private_blobs = &private_blobs,
                                                   .pace = {}});
  }
  ~TestNode() {
    swarm->Stop();
    dialer->Stop();
    control->Shutdown(std::chrono::milliseconds(0));
    cluster.Connect(nullptr, nullptr);
    server->Stop(std::chrono::milliseconds(0));
  }

  v1::Neighbour AsNeighbour() const {
    v1::Neighbour neighbour;
    neighbour.set_node_id(member.id);
    neighbour.set_name(member.id);
    neighbour.set_data_address(server->address());
    neighbour.set_control_address(control->address());
    return neighbour;
  }
  void Tell(const Digest& blob, const std::vector<v1::Neighbour>& neighbours,
            bool located = false) {
    v1::ToNode message;
    message.mutable_neighbours()->set_blob(ToRaw(blob));
    message.mutable_neighbours()->set_located(located);
    for (const auto& node : neighbours) *message.mutable_neighbours()->add_nodes() = node;
    cluster.OnTracker(message);
  }
  void Lease(const Digest& blob, PieceRun run) {
    v1::ToNode message;
    message.mutable_lease()->set_blob(ToRaw(blob));
    message.mutable_lease()->mutable_run()->set_first(run.begin());
    message.mutable_lease()->mutable_run()->set_count(run.count);
    cluster.OnTracker(message);
  }
  // Waits until the node told the tracker what `wanted` looks for.
  bool Said(const std::function<bool(const v1::FromNode&)>& wanted) const {
    for (const Deadline deadline = Soon(); !deadline.Passed();) {
      if (std::ranges::any_of(tracker.said(), wanted)) return true;
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
    }
    return false;
  }
  bool SaidJoin() const {
    return Said([](const v1::FromNode& message) { return message.has_join(); });
  }

  store::Scratch scratch;
  TestAuthority::Member member;
  net::TlsIdentitySource identity;
  Limiter limiter;
  TimerQueue timers;
  ThreadPool pool{{.name = "cpu", .threads = 2, .queue_limit = 65'536}};
  std::unique_ptr<kv::Kv> kv;
  std::unique_ptr<store::BlobStore> store;
  std::unique_ptr<net::HttpClient> client;
  Attester attester;
  PeerClient peers;
  PrivateBlobs private_blobs;
  TestTracker tracker;
  Cluster cluster;
  std::unique_ptr<PeerServer> server;
  std::shared_ptr<grpc::Service> service;
  std::unique_ptr<net::GrpcTlsServer> control;
  std::unique_ptr<NeighbourClient> dialer;
  std::unique_ptr<Swarm> swarm;
};

// A stream that a test speaks for a node.
class StandIn final : public NeighbourLink {
 public:
  explicit StandIn(const TestNode& node)
      : peer_{node.member.id, "stand-in", node.server->address(), node.control->address()} {}
  const PeerAddress& peer() const override { return peer_; }
  bool dialled() const override { return false; }
  void Send(const v1::NeighbourMessage&) override {}
  void Close(const Status&) override {}

 private:
  const PeerAddress peer_;
};

inline std::string ReadAll(store::Blob& blob) {
  std::string all(blob.size_bytes(), '\0');
  for (size_t at = 0; at < all.size();) {
    const auto got = blob.Read(at, std::span(all).subspan(at), {}, Soon());
    if (!got.ok() || *got == 0) return "cut short";
    at += *got;
  }
  return all;
}

class ClusterFixture : public oci::RegistryFixture {
 protected:
  static BlobRequest RequestTo(const oci::ScriptedServer& server, const std::string& bytes) {
    return {Digest::Of(bytes), bytes.size(), {AccessTo(server)}};
  }
  // A registry with the blob; counts what leaves it.
  oci::ScriptedServer::Script Serving(const std::string& bytes) {
    return [this, &bytes](const oci::Request& request, int) {
      oci::Reply reply = oci::BlobReply(request, bytes);
      origin_bytes += reply.body.size();
      return reply;
    };
  }

  std::atomic<uint64_t> origin_bytes = 0;
  TestAuthority authority_;
};

}  // namespace hearth::p2p
