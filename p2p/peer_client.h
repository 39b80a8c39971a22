// PeerClient: pieces from other nodes' data ports, over kept-alive HTTPS.
//
// Any thread; callbacks run on the HTTP client's loop thread and must not hash or wait. A piece is
// held in memory until its owner has checked it, so what is on its way at once is bounded: further
// asks wait in order of arrival.
#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <string>

#include "base/clock.h"
#include "base/digest.h"
#include "base/status.h"
#include "base/thread.h"
#include "base/timer.h"
#include "net/http_client.h"
#include "net/tls.h"
#include "p2p/limiter.h"
#include "p2p/peer_address.h"

namespace hearth::p2p {

struct PieceAsk {
  PeerAddress peer;
  Digest blob;
  uint64_t offset_bytes = 0;
  uint64_t size_bytes = 0;
  // Its first byte came; since it was asked.
  std::function<void(std::chrono::nanoseconds)> answered = nullptr;
  std::function<void(uint64_t bytes)> progress = nullptr;  // so many came
};

class PeerClient {
 public:
  struct Options {
    net::HttpClient& client;
    net::TlsIdentitySource identity;
    std::string cluster;
    Limiter& limiter;
    TimerQueue& timers;
    uint64_t memory_bytes = 24 << 20;  // on its way at once
  };
  // What is in `options` outlives this and all requests.
  explicit PeerClient(Options options);
  ~PeerClient();

  // Bytes of a piece, which count as on their way until this goes.
  class Bytes;
  // Exactly `size_bytes` unchecked bytes; or kResourceExhausted: busy, kNotFound: not there,
  // kPermissionDenied: never, kUnavailable and others: not now, kCancelled. Once.
  using Done = std::function<void(Result<std::shared_ptr<Bytes>>)>;

  class Request {
   public:
    virtual ~Request() = default;
    virtual void Cancel() = 0;
    // It waits here, for memory or for the limiter, and not for the peer.
    virtual bool waits_here() const = 0;
  };
  std::shared_ptr<Request> Fetch(PieceAsk ask, Done done);
  // Of pieces that are on their way or not checked yet.
  uint64_t held_bytes() const;

 private:
  class Transfer;
  struct State;
  const std::shared_ptr<State> state_;
};

class PeerClient::Bytes {
 public:
  Bytes(std::shared_ptr<State> state, uint64_t size_bytes);
  ~Bytes();
  Bytes(const Bytes&) = delete;
  Bytes& operator=(const Bytes&) = delete;

  std::string data;
  std::string from;  // the node's name

 private:
  const std::shared_ptr<State> state_;
  const uint64_t size_bytes_;
};

}  // namespace hearth::p2p
