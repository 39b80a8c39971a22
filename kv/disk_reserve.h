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
  // With less room than this the reserve is given to the file system; with more than the next it is
  // taken back.
  static constexpr uint64_t kReleaseBelowBytes = 8ull << 20;
  static constexpr uint64_t kRefillAboveBytes = 32ull << 20;
  // Stays for RocksDB's own files while writes are refused.
  static constexpr uint64_t kRefuseBelowBytes = 2ull << 20;

  // Kept in `directory`/RESERVE.
  static Result<std::unique_ptr<DiskReserve>> Open(const std::filesystem::path& directory);

  // kResourceExhausted when a write of `bytes` could fail half way.
  Status Admit(uint64_t bytes);

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
