#include "p2p/limiter.h"

#include <algorithm>

namespace hearth::p2p {

namespace {

using std::chrono::duration;
using std::chrono::duration_cast;

SteadyTime::duration Seconds(double seconds) {
  return duration_cast<SteadyTime::duration>(duration<double>(seconds));
}

}  // namespace

SteadyTime TokenBucket::Charge(uint64_t bytes, SteadyTime now) {
  if (rate_ == 0) {
    paid_until_ = {};
    return now;
  }
  paid_until_ = std::max(paid_until_, now - Seconds(kBurstSeconds)) +
                Seconds(static_cast<double>(bytes) / static_cast<double>(rate_));
  return std::max(paid_until_, now);
}

void Limiter::SetRates(Rates rates) {
  MutexLock lock(mutex_);
  upload_.SetRate(rates.upload);
  download_.SetRate(rates.download);
  origin_.SetRate(rates.origin);
}

void Limiter::SetOriginShare(uint64_t bytes_per_second) {
  MutexLock lock(mutex_);
  share_.SetRate(bytes_per_second);
}

SteadyTime Limiter::Charge(Traffic traffic, uint64_t bytes, SteadyTime now) {
  MutexLock lock(mutex_);
  if (traffic == Traffic::kUpload) return upload_.Charge(bytes, now);
  SteadyTime until = download_.Charge(bytes, now);
  if (traffic == Traffic::kOrigin) {
    until = std::max({until, origin_.Charge(bytes, now), share_.Charge(bytes, now)});
  }
  return until;
}

}  // namespace hearth::p2p
