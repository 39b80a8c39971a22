// Disk: the system calls by which the store changes files. Tests put one in that fails.
//
// Any thread. Errors as ErrnoStatus() maps them.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>

#include "base/status.h"

namespace hearth::store {

class Disk {
 public:
  virtual ~Disk() = default;
  // All of `data`, or an error after some of it.
  virtual Status Write(int fd, std::span<const char> data, uint64_t offset_bytes);
  // fdatasync.
  virtual Status SyncData(int fd);
  // Names made in, or removed from, `directory` survive a power loss.
  virtual Status SyncDirectory(const std::filesystem::path& directory);
  // Cuts, or extends by a hole.
  virtual Status Resize(int fd, uint64_t size_bytes);
  virtual Status Link(const std::filesystem::path& from, const std::filesystem::path& to);
  // Replaces `to`.
  virtual Status Rename(const std::filesystem::path& from, const std::filesystem::path& to);
  // OK when there is no such file.
  virtual Status Unlink(const std::filesystem::path& path);
  // Unlink(), or a whole tree where somebody put a directory among our files.
  Status RemoveStray(const std::filesystem::path& path);
  // One file or empty directory of a tree that goes. OK when there is none.
  virtual Status Remove(const std::filesystem::path& path);
  // OK when it is there already.
  virtual Status MakeDirectory(const std::filesystem::path& path, uint32_t mode);
  // What an unprivileged program could still write there.
  virtual Result<uint64_t> FreeBytes(const std::filesystem::path& path);
  virtual Result<uint64_t> TotalBytes(const std::filesystem::path& path);
  // Files that an unprivileged program could still make there, and how many there can be at all;
  // total 0 = the file system has no such limit (btrfs, for one).
  struct Inodes {
    uint64_t free = 0;
    uint64_t total = 0;
  };
  virtual Result<Inodes> CountInodes(const std::filesystem::path& path);
};

// The machine's; lives as long as the process.
Disk& RealDisk();

// Asks the kernel to begin writing this range out; waits for nothing, promises nothing.
void StartWriteback(int fd, uint64_t offset_bytes, uint64_t size_bytes);

}  // namespace hearth::store
