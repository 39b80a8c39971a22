// NeighbourClient: opens streams to the neighbours that the tracker names.
//
// Any thread. A stream that ends is not opened again by itself: see Cluster::Redial().
#pragma once

#include <map>
#include <memory>
#include <string>

#include "base/thread.h"
#include "hearth/v1/neighbour.pb.h"
#include "net/grpc_tls.h"
#include "p2p/cluster.h"
#include "p2p/links.h"

namespace hearth::p2p {

class NeighbourClient final : public NeighbourDialer {
 public:
  static constexpr size_t kMaxStreams = Cluster::kMaxNeighbours;

  struct Options {
    Cluster& cluster;  // outlives this
    std::shared_ptr<const net::TlsWatch> tls;
    v1::NeighbourHello own;
  };
  explicit NeighbourClient(Options options);
  ~NeighbourClient() override;

  void Dial(const PeerAddress& peer) override;
  // Cancels all streams and waits for their end. Idempotent.
  void Stop();

 private:
  class Call;
  friend class Call;
  void Gone(const std::string& node_id);

  const Options options_;
  Mutex mutex_;
  CondVar changed_;
  std::map<std::string, Call*> calls_ GUARDED_BY(mutex_);  // by node; each deletes itself
  bool stopping_ GUARDED_BY(mutex_) = false;
};

}  // namespace hearth::p2p
