#include "kv/disk_reserve.h"

#include <fcntl.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <cerrno>
#include <string>

namespace hearth::kv {

Result<std::unique_ptr<DiskReserve>> DiskReserve::Open(const std::filesystem::path& directory) {
  Fd file = TRY(OpenFile(directory / "RESERVE", O_RDWR | O_CREAT));
  std::unique_ptr<DiskReserve> reserve(new DiskReserve(std::move(file)));
  // What a former process held is counted anew.
  reserve->Release();
  if (TRY(reserve->FreeBytes()) >= kRefillAboveBytes) reserve->Refill();
  return reserve;
}

Status DiskReserve::Admit(uint64_t bytes, Change change) {
  uint64_t free = TRY(FreeBytes());
  const std::lock_guard lock(mutex_);
  if (free >= kRefillAboveBytes && !held_) Refill();
  if (free >= kRefuseBelowBytes + bytes) return OkStatus();
  if (held_ && change == Change::kDeletes) {
    Release();
    free = TRY(FreeBytes());
    if (free >= kRefuseBelowBytes + bytes) return OkStatus();
  }
  return ResourceExhausted("write the index: its file system has " + std::to_string(free) +
                           " bytes left; free some room there");
}

Result<uint64_t> DiskReserve::FreeBytes() const {
  struct statvfs space;
  if (::fstatvfs(file_.get(), &space) != 0) {
    return ErrnoStatus(errno, "look how full the index's file system is");
  }
  // Blocks kept for root are ours too where we are root.
  const uint64_t blocks = ::geteuid() == 0 ? space.f_bfree : space.f_bavail;
  return blocks * space.f_frsize;
}

void DiskReserve::Refill() {
  held_ = ::fallocate(file_.get(), 0, 0, static_cast<off_t>(kReserveBytes)) == 0;
}

void DiskReserve::Release() { held_ = ::ftruncate(file_.get(), 0) != 0; }

}  // namespace hearth::kv
