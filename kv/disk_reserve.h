// DiskReserve: a little room that the index keeps for itself. With it a full disk can still record
// deletions, and RocksDB does not meet a failing write to its log, which Debian's build (assertions
// on) may answer with an abort.
//
// Any thread.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <mutex>

#include "base/file.h"
#include "base/status.h"

namespace hearth::kv {

class DiskReserve {
 public:
  static constexpr uint64_t kReserveBytes = 8ull << 20;
  // Taken (back) when the file system has this much room.
  static constexpr uint64_t kRefillAboveBytes = 16ull << 20;
  // With less than this a change is refused: RocksDB's own files need it.
  static constexpr uint64_t kRefuseBelowBytes = 2ull << 20;

  // Kept in `directory`/RESERVE.
  static Result<std::unique_ptr<DiskReserve>> Open(const std::filesystem::path& directory);

  enum class Change : uint8_t {
    kAdds,
    kDeletes,  // may use the reserve, since room follows from it
  };
  // kResourceExhausted when a write of `bytes` could fail half way.
  Status Admit(uint64_t bytes, Change change);

 private:
  explicit DiskReserve(Fd file) : file_(std::move(file)) {}
  Result<uint64_t> FreeBytes() const;
  void Refill();
  void Release();

  const Fd file_;
  std::mutex mutex_;
  bool held_ = false;  // under mutex_
};

}  // namespace hearth::kv
