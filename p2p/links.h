// What the swarm says to the outside: a stream to a neighbour, the stream to the tracker.
//
// The gRPC side implements these; tests have their own. Any thread.
#pragma once

#include <memory>

#include "base/status.h"
#include "hearth/v1/neighbour.pb.h"
#include "hearth/v1/tracker.pb.h"
#include "p2p/peer_address.h"

namespace hearth::p2p {

// One open stream to a neighbour, after both said hello.
class NeighbourLink {
 public:
  virtual ~NeighbourLink() = default;
  // The identity is proven; `data_address` is what the other side said.
  virtual const PeerAddress& peer() const = 0;
  // This node opened it.
  virtual bool dialled() const = 0;
  // The newest protocol that both speak; see NeighbourHello.
  virtual uint32_t protocol() const { return 1; }
  // Queues it. A link whose queue is full closes itself: what was left out could not be told again.
  virtual void Send(const v1::NeighbourMessage& message) = 0;
  virtual void Close(const Status& why) = 0;
};

class NeighbourDialer {
 public:
  virtual ~NeighbourDialer() = default;
  // Opens a stream in the background, unless one is open or on its way.
  virtual void Dial(const PeerAddress& peer) = 0;
};

class TrackerLink {
 public:
  virtual ~TrackerLink() = default;
  // Between the tracker's Welcome and the stream's end.
  virtual bool connected() const = 0;
  // Queues it; dropped while there is no connection, since all of it is said again on the next.
  virtual void Send(const v1::FromNode& message) = 0;
};

}  // namespace hearth::p2p
