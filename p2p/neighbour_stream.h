// What both ends of a neighbours' stream do alike: a bounded queue of messages to send, the first
// Hello, and what comes handed to the Cluster.
//
// Knows nothing of gRPC: its owner's reactor sends what Front() says and hands in what it read. Any
// thread.
#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "base/thread.h"
#include "hearth/v1/neighbour.pb.h"
#include "p2p/cluster.h"
#include "p2p/links.h"

namespace hearth::p2p {

inline constexpr int kMaxNeighbourMessageBytes = 256 * 1024;
inline constexpr size_t kMaxQueuedNeighbourBytes = 8 << 20;
inline constexpr uint32_t kNeighbourProtocol = 2;  // and each before

class NeighbourStream final : public NeighbourLink,
                              public std::enable_shared_from_this<NeighbourStream> {
 public:
  struct Hooks {
    std::function<void()> send;                // the queue is not empty any more
    std::function<void(const Status&)> close;  // end the call with it
  };
  // `peer`: as far as known before its Hello; its id is proven.
  // `dialled`: by this node.
  NeighbourStream(Cluster& cluster, PeerAddress peer, bool dialled, v1::NeighbourHello own,
                  Hooks hooks);

  const PeerAddress& peer() const override { return peer_; }
  bool dialled() const override { return dialled_; }
  uint32_t protocol() const override { return protocol_; }
  void Send(const v1::NeighbourMessage& message) override;
  void Close(const Status& why) override;

  // --- for the reactor ---
  // The message to send next; it stays the front until Sent().
  const v1::NeighbourMessage* Front();
  void Sent();
  // False: the stream was closed.
  bool Receive(const v1::NeighbourMessage& message);
  // The call has ended; the hooks are not called any more.
  void Ended();

 private:
  Status Greet(const v1::NeighbourHello& hello);

  Cluster& cluster_;
  // Written before the cluster knows this.
  PeerAddress peer_;
  uint32_t protocol_;  // until then the newest of ours
  const bool dialled_;
  bool greeted_ = false;  // of the reading side

  Mutex hook_mutex_;  // taken before mutex_, held while a hook runs: none does after Ended()
  Hooks hooks_ GUARDED_BY(hook_mutex_);
  Mutex mutex_;
  std::deque<v1::NeighbourMessage> queue_ GUARDED_BY(mutex_);
  size_t queued_bytes_ GUARDED_BY(mutex_) = 0;
  bool sending_ GUARDED_BY(mutex_) = false;
  bool overflow_ GUARDED_BY(mutex_) = false;
  bool closed_ GUARDED_BY(mutex_) = false;
};

}  // namespace hearth::p2p
