// Limiter: how many bytes per second go to peers, come in, and come from origins.
//
// Plain state that is given the time, behind one mutex: any thread. Every byte is charged by
// Charge() and nowhere else. A bucket goes into debt, and the answer says how long whoever moved
// the bytes has to wait before it moves more; so a chunk is never split for a limit.
#pragma once

#include <chrono>
#include <cstdint>

#include "base/clock.h"
#include "base/thread.h"

namespace hearth::p2p {

class TokenBucket {
 public:
  // A bucket that nobody used holds so much of a second's bytes.
  static constexpr double kBurstSeconds = 0.1;

  // 0 = no limit. What was owed stays owed.
  void SetRate(uint64_t bytes_per_second) { rate_ = bytes_per_second; }
  // Takes the bytes; until when nobody should take more (`now` = at once).
  SteadyTime Charge(uint64_t bytes, SteadyTime now);

 private:
  uint64_t rate_ = 0;
  SteadyTime paid_until_{};  // when what was taken so far is earned
};

class Limiter {
 public:
  enum class Traffic : uint8_t {
    kUpload,  // to peers
    kPeer,    // from peers
    kOrigin,  // from registries and file servers
  };
  struct Rates {  // bytes per second, 0 = none
    uint64_t upload = 0;
    uint64_t download = 0;  // whatever it comes from
    uint64_t origin = 0;
  };

  explicit Limiter(Rates rates) { SetRates(rates); }

  void SetRates(Rates rates);
  // This node's part of what the cluster may take from origins; 0 = no limit.
  void SetOriginShare(uint64_t bytes_per_second);

  // Until when whoever moved these bytes should move no more; `now` = at once.
  SteadyTime Charge(Traffic traffic, uint64_t bytes, SteadyTime now);

 private:
  Mutex mutex_;
  TokenBucket upload_ GUARDED_BY(mutex_);
  TokenBucket download_ GUARDED_BY(mutex_);
  TokenBucket origin_ GUARDED_BY(mutex_);
  TokenBucket share_ GUARDED_BY(mutex_);
};

}  // namespace hearth::p2p
