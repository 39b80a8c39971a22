// IngestIndex: records of ingests, by ref.
//
// Any thread. Changes survive a crash of the process; a power loss may take the latest ones.
#pragma once

#include <functional>
#include <string>

#include "base/clock.h"
#include "base/status.h"
#include "kv/kv.h"

namespace hearth::store {

struct IngestRecord {
  std::string ref;
  uint64_t file = 0;  // n of ingest/<n>
  uint64_t total_bytes = 0;
  std::string expected;
  WallTime started;
  WallTime updated;
  uint64_t synced_bytes = 0;
  std::string boot_id;
};

class IngestIndex {
 public:
  explicit IngestIndex(kv::Kv& kv) : kv_(kv) {}

  // kNotFound; kDataLoss when it cannot be read.
  Result<IngestRecord> Find(const std::string& ref) const;
  Status Put(const IngestRecord& record);
  Status Remove(const std::string& ref);
  Status Scan(
      const std::function<bool(const std::string& ref, const Result<IngestRecord>&)>& visit) const;

 private:
  kv::Kv& kv_;
};

}  // namespace hearth::store
