// Kv: the ordered key-value store that indexes everything; RocksDB on disk, or its in-memory twin.
//
// Any thread. Keys are bytes, ordered bytewise within a family. All errors of the disk come back as
// kDataLoss (corruption), kResourceExhausted (full) or kInternal.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"

namespace hearth::kv {

enum class Family : uint8_t {
  kMeta,
  kBlobs,
  kPieces,
  kTasks,
  kIngests,
  kSnapshots,
  kLayers,
  kChains,
  kSources,
  kPins,
  kOrders,
};
inline constexpr int kFamilies = 11;

// Changes that are applied all or not at all.
class Batch {
 public:
  void Put(Family family, std::string key, std::string value);
  void Delete(Family family, std::string key);
  bool empty() const { return changes_.empty(); }

  struct Change {
    Family family;
    std::string key;
    std::string value;
    bool is_delete;
  };
  const std::vector<Change>& changes() const { return changes_; }

 private:
  std::vector<Change> changes_;
};

enum class Sync : uint8_t {
  kNo,   // survives a crash of the process, not a power loss
  kYes,  // survives a power loss
};

class Kv {
 public:
  virtual ~Kv() = default;
  // kNotFound when there is no such key.
  virtual Result<std::string> Get(Family family, std::string_view key) const = 0;
  virtual Status Write(const Batch& batch, Sync sync) = 0;
  using Visit = std::function<bool(std::string_view key, std::string_view value)>;
  // Calls `visit` for each key that begins with `prefix` and is greater than `after`, in order,
  // until it returns false. A consistent view of the moment of the call; `visit` may write.
  virtual Status ScanAfter(Family family, std::string_view prefix, std::string_view after,
                           const Visit& visit) const = 0;

  Status Scan(Family family, std::string_view prefix, const Visit& visit) const {
    return ScanAfter(family, prefix, "", visit);
  }
  Status Put(Family family, std::string key, std::string value, Sync sync);
  Status Delete(Family family, std::string key, Sync sync);
};

struct RocksKvOptions {
  std::filesystem::path directory;
  uint64_t memory_bytes = 32ull << 20;  // block cache and memtables together
};
// kFailedPrecondition when another process has it open.
Result<std::unique_ptr<Kv>> OpenRocksKv(const RocksKvOptions& options);
// Nothing on disk; for tests. Same order, same atomicity.
std::unique_ptr<Kv> MakeMemoryKv();

}  // namespace hearth::kv
