#include "store/disk.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>

#include "base/file.h"

namespace hearth::store {

Status Disk::Write(int fd, std::span<const char> data, uint64_t offset_bytes) {
  return WriteAllAt(fd, data, offset_bytes);
}

Status Disk::SyncData(int fd) { return hearth::SyncData(fd); }

Status Disk::SyncDirectory(const std::filesystem::path& directory) {
  return hearth::SyncDirectory(directory);
}

Status Disk::Resize(int fd, uint64_t size_bytes) {
  if (::ftruncate(fd, static_cast<off_t>(size_bytes)) < 0) {
    return ErrnoStatus(errno, "resize to " + std::to_string(size_bytes) + " bytes");
  }
  return OkStatus();
}

Status Disk::Link(const std::filesystem::path& from, const std::filesystem::path& to) {
  if (::link(from.c_str(), to.c_str()) < 0) {
    return ErrnoStatus(errno, "link " + from.string() + " as " + to.string());
  }
  return OkStatus();
}

Status Disk::Rename(const std::filesystem::path& from, const std::filesystem::path& to) {
  if (::rename(from.c_str(), to.c_str()) < 0) {
    return ErrnoStatus(errno, "rename " + from.string() + " to " + to.string());
  }
  return OkStatus();
}

Status Disk::Unlink(const std::filesystem::path& path) {
  if (::unlink(path.c_str()) < 0 && errno != ENOENT) {
    return ErrnoStatus(errno, "remove " + path.string());
  }
  return OkStatus();
}

Status Disk::Remove(const std::filesystem::path& path) {
  if (::remove(path.c_str()) < 0 && errno != ENOENT) {
    return ErrnoStatus(errno, "remove " + path.string());
  }
  return OkStatus();
}

Status Disk::RemoveStray(const std::filesystem::path& path) {
  struct stat info {};
  const bool directory = ::lstat(path.c_str(), &info) == 0 && S_ISDIR(info.st_mode);
  return directory ? RemoveTree(path) : Unlink(path);
}

Status Disk::MakeDirectory(const std::filesystem::path& path, uint32_t mode) {
  if (::mkdir(path.c_str(), mode) < 0 && errno != EEXIST) {
    return ErrnoStatus(errno, "make directory " + path.string());
  }
  return OkStatus();
}

Result<uint64_t> Disk::FreeBytes(const std::filesystem::path& path) {
  struct statvfs info {};
  if (::statvfs(path.c_str(), &info) < 0) return ErrnoStatus(errno, "statvfs " + path.string());
  return static_cast<uint64_t>(info.f_bavail) * info.f_frsize;
}

Result<uint64_t> Disk::TotalBytes(const std::filesystem::path& path) {
  struct statvfs info {};
  if (::statvfs(path.c_str(), &info) < 0) return ErrnoStatus(errno, "statvfs " + path.string());
  return static_cast<uint64_t>(info.f_blocks) * info.f_frsize;
}

Result<Disk::Inodes> Disk::CountInodes(const std::filesystem::path& path) {
  struct statvfs info {};
  if (::statvfs(path.c_str(), &info) < 0) return ErrnoStatus(errno, "statvfs " + path.string());
  return Inodes{.free = info.f_favail, .total = info.f_files};
}

Disk& RealDisk() {
  static Disk disk;
  return disk;
}

void StartWriteback(int fd, uint64_t offset_bytes, uint64_t size_bytes) {
  (void)::sync_file_range(fd, static_cast<off_t>(offset_bytes), static_cast<off_t>(size_bytes),
                          SYNC_FILE_RANGE_WRITE);
}

}  // namespace hearth::store
