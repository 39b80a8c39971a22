// Any bytes as messages of a neighbour (each with two bytes of length before it), the first of them
// a Hello or not, to a node that wants one blob and holds another: each is taken, passed over or
// ends the stream, and another neighbour is still answered.
#include <stdlib.h>

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>

#include "base/file.h"
#include "base/raw_digest.h"
#include "base/timer.h"
#include "kv/kv.h"
#include "net/certificate.h"
#include "net/http_client.h"
#include "oci/registry.h"
#include "p2p/attester.h"
#include "p2p/cluster.h"
#include "p2p/cluster_transfer.h"
#include "p2p/limiter.h"
#include "p2p/neighbour_stream.h"
#include "p2p/peer_client.h"
#include "store/blob_store.h"

namespace {

using namespace hearth;       // NOLINT: one file
using namespace hearth::p2p;  // NOLINT

constexpr uint64_t kWantedBytes = 100 * kMinPieceSizeBytes + 1;

// What the corpus names.
const Digest kWanted = Digest::Of("wanted");
const std::string kHeld = "held";

struct Node {
  net::PrivateKey ca_key = net::PrivateKey::Generate();
  net::Certificate ca = net::Certificate::MakeAuthority(ca_key, "fuzz", RealClock().WallNow(),
                                                        std::chrono::hours(24 * 365));
  std::shared_ptr<const net::TlsIdentity> identity = Issue();
  std::filesystem::path root = MakeRoot();
  ThreadPool pool{{.name = "cpu", .threads = 1}};
  std::unique_ptr<kv::Kv> kv = kv::MakeMemoryKv();
  std::unique_ptr<store::BlobStore> blobs =
      store::BlobStore::Open({.root = root, .kv = *kv, .cpu_pool = pool}).value();
  Limiter limiter{{}};
  TimerQueue timers;
  std::unique_ptr<net::HttpClient> client = net::HttpClient::Create({}).value();
  oci::Registry registry{*client, RealClock(), {}};
  Attester attester{{.identity = [this] { return identity; }, .cluster = "lab"}};
  PeerClient peers{{.client = *client,
                    .identity = [this] { return identity; },
                    .cluster = "lab",
                    .limiter = limiter,
                    .timers = timers}};
  std::shared_ptr<store::Blob> wanted = blobs->Grow(kWanted, kWantedBytes).value().blob;

  Node() {
    auto held = blobs->Grow(Digest::Of(kHeld), kHeld.size()).value();
    CHECK(held.blob->Write(0, kHeld).ok() && held.blob->WaitComplete({}).ok());
  }
  std::shared_ptr<const net::TlsIdentity> Issue() {
    const auto key = net::PrivateKey::Generate();
    const auto request = net::SigningRequest::FromPem(net::SigningRequest::MakePem(key)).value();
    const net::Identity own{net::Role::kNode, "lab", "a"};
    const auto leaf = ca.Issue(ca_key, request, {own, "a", {}}, RealClock().WallNow()).value();
    return std::make_shared<const net::TlsIdentity>(
        net::TlsIdentity{leaf.ToPem() + ca.ToPem(), key.ToPem().Reveal(), ca.ToPem()});
  }
  static std::filesystem::path MakeRoot() {
    std::string name = "/tmp/hearth-fuzz-XXXXXX";
    CHECK(::mkdtemp(name.data()) != nullptr);
    static const std::string made = name;
    std::atexit([] { (void)RemoveTree(made); });
    return name;
  }
};

std::shared_ptr<NeighbourStream> Stream(Cluster& cluster, const std::string& id) {
  PeerAddress peer;
  peer.id = id;
  return std::make_shared<NeighbourStream>(cluster, peer, false, v1::NeighbourHello(),
                                           NeighbourStream::Hooks());
}

// Everything that waits to be sent, as one that reads would have it.
size_t Read(NeighbourStream& stream) {
  size_t read = 0;
  while (const auto* message = stream.Front()) {
    CHECK(message->ByteSizeLong() <= kMaxNeighbourMessageBytes);
    stream.Sent();
    ++read;
  }
  return read;
}

void Greet(NeighbourStream& stream) {
  v1::NeighbourMessage hello;
  hello.mutable_hello()->set_data_address("127.0.0.1:1");
  CHECK(stream.Receive(hello));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static Node* const node = new Node;
  Cluster cluster({.node_id = "a",
                   .blobs = *node->blobs,
                   .peers = node->peers,
                   .attester = node->attester,
                   .cpu = node->pool,
                   .limiter = node->limiter,
                   .timers = node->timers});
  ThreadPool origin({.name = "origin", .threads = 1});
  const auto transfer =
      std::make_shared<ClusterTransfer>(ClusterTransfer::Options{.cluster = cluster,
                                                                 .registry = node->registry,
                                                                 .origin_threads = origin,
                                                                 .origins = {},
                                                                 .blob = node->wanted});
  cluster.Enter(transfer);
  const auto other = Stream(cluster, "c");
  Greet(*other);
  (void)Read(*other);
  const auto stream = Stream(cluster, "b");
  if (size > 0 && data[0] % 2 == 0) Greet(*stream);
  for (bool open = true; open && size >= 2;) {
    const size_t length = std::min<size_t>(size - 2, data[0] | data[1] << 8);
    v1::NeighbourMessage message;
    if (message.ParseFromArray(data + 2, static_cast<int>(length))) open = stream->Receive(message);
    (void)Read(*stream);
    data += 2 + length;
    size -= 2 + length;
  }
  stream->Ended();
  v1::NeighbourMessage unknown;
  unknown.mutable_interest()->set_blob(ToRaw(Digest::Of("unknown")));
  CHECK(other->Receive(unknown) && Read(*other) == 1);  // a Goodbye
  other->Ended();
  CHECK(cluster.neighbours() == 0);
  cluster.Leave(*transfer, Cluster::Left::kUnfinished);
  return 0;
}
