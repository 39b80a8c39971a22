// UploadQueue: which of the pieces that neighbours asked this node for goes out next.
//
// Plain state: events and the time in, decisions out; no I/O, no clock, no lock; one per node, for
// all blobs. At most `slots` go out at once. What few neighbours have goes first, because it gives
// their links something to do; of those the one that asked first; nobody waits longer than
// kMaxWait behind such. The queue is short on purpose: who waits here for a piece asks nobody else
// for it, while another neighbour may have it by now and nothing to do. What the uplink would not
// send in kQueueTime is "busy": the asker goes elsewhere and comes again.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

#include "base/clock.h"

namespace hearth::p2p {

enum class UploadId : uint64_t {};

class UploadQueue {
 public:
  static constexpr std::chrono::milliseconds kMaxWait{100};
  static constexpr std::chrono::milliseconds kQueueTime{20};
  static constexpr size_t kMinWaiting = 2;  // are let in however slow the uplink is

  struct Options {
    size_t slots = 8;
    size_t max_waiting = 1024;
    size_t max_of_peer = 64;  // waiting and going out
    std::chrono::milliseconds queue_time = kQueueTime;
  };
  explicit UploadQueue(Options options) : options_(options) {}

  struct Upload {
    UploadId id{};
    uint64_t peer = 0;  // whoever asks, as its owner numbers them
    uint64_t bytes = 0;
    uint32_t holders = 0;  // neighbours that have the piece as far as this node knows
  };
  // The same, as far as is known by now.
  using Holders = std::function<uint32_t(UploadId)>;
  // False: busy, nothing was kept.
  bool Push(const Upload& upload, SteadyTime now);
  // The next one to send, which takes a slot until Done().
  std::optional<Upload> Next(SteadyTime now);
  std::optional<Upload> Next(const Holders& holders, SteadyTime now);
  void Done(UploadId id, SteadyTime now);
  // The asker wants it no more; waiting or going out. False: not known.
  bool Cancel(UploadId id);
  void RemovePeer(uint64_t peer);

  size_t waiting() const { return waiting_.size(); }
  size_t sending() const { return sending_.size(); }
  uint64_t waiting_bytes() const { return waiting_bytes_; }

 private:
  struct Waiting {
    Upload upload;
    SteadyTime since{};
  };
  size_t OfPeer(uint64_t peer) const;

  Options options_;
  std::vector<Waiting> waiting_;  // oldest first
  std::vector<Upload> sending_;
  uint64_t waiting_bytes_ = 0;
  double bytes_per_second_ = 0;  // smoothed; 0 = not known
  SteadyTime last_done_{};
};

}  // namespace hearth::p2p
