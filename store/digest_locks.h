// DigestLocks: a lock for each digest. Whoever works on one digest, and be it with a sync of the
// disk, holds up nobody who works on another one.
//
// Any thread; a thread holds one digest at a time.
#pragma once

#include <unordered_set>

#include "base/digest.h"
#include "base/thread.h"

namespace hearth::store {

class DigestLocks {
 public:
  // Waits until nobody holds `digest`; held until it is destroyed.
  class Hold {
   public:
    Hold(DigestLocks& locks, const Digest& digest) : locks_(locks), digest_(digest) {
      MutexLock lock(locks_.mutex_);
      while (!locks_.held_.insert(digest_).second) locks_.released_.Wait(locks_.mutex_);
    }
    ~Hold() {
      MutexLock lock(locks_.mutex_);
      locks_.held_.erase(digest_);
      locks_.released_.NotifyAll();
    }
    Hold(const Hold&) = delete;
    Hold& operator=(const Hold&) = delete;

   private:
    DigestLocks& locks_;
    const Digest digest_;
  };

 private:
  Mutex mutex_;
  CondVar released_;
  std::unordered_set<Digest> held_ GUARDED_BY(mutex_);
};

}  // namespace hearth::store
