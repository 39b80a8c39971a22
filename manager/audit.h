// Audit: who changed what, when, and from where; the last 10,000 changes, also over a restart.
//
// Any thread. A change that a full disk does not take is in the log alone.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/status.h"
#include "base/thread.h"
#include "kv/kv.h"

namespace hearth::manager {

struct AuditEntry {
  uint64_t id = 0;
  WallTime at{};
  std::string method = {};
  std::string path = {};
  std::string token_id = {};
  std::string token_name = {};
  std::string from = {};     // address
  std::string outcome = {};  // "ok", or what was wrong
};

class Audit {
 public:
  static constexpr uint64_t kMaxEntries = 10'000;
  static constexpr size_t kMaxTextBytes = 512;

  // `kv` and `clock` must outlive it.
  static Result<std::unique_ptr<Audit>> Open(kv::Kv& kv, const Clock& clock);

  // Numbers it, writes it down and logs it. Texts are cut.
  void Add(AuditEntry entry) EXCLUDES(mutex_);
  struct Page {
    std::vector<AuditEntry> entries;  // latest first
    uint64_t total = 0;
  };
  Result<Page> List(uint64_t first, size_t count) const EXCLUDES(mutex_);

 private:
  Audit(kv::Kv& kv, const Clock& clock) : kv_(kv), clock_(clock) {}

  kv::Kv& kv_;
  const Clock& clock_;
  mutable Mutex mutex_;
  uint64_t first_ GUARDED_BY(mutex_) = 1;  // of those kept
  uint64_t next_ GUARDED_BY(mutex_) = 1;
};

}  // namespace hearth::manager
