// Fd and the few system calls that every folder needs, with errors as values and EINTR retried.
//
// Thread-safe as the kernel is; an Fd is owned by one object at a time.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "base/status.h"

namespace hearth {

// An open file descriptor, closed with its owner.
class Fd {
 public:
  Fd() = default;
  explicit Fd(int fd) : fd_(fd) {}
  ~Fd() { Reset(); }
  Fd(Fd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Fd& operator=(Fd&& other) noexcept {
    if (this != &other) {
      Reset();
      fd_ = std::exchange(other.fd_, -1);
    }
    return *this;
  }
  Fd(const Fd&) = delete;
  Fd& operator=(const Fd&) = delete;

  int get() const { return fd_; }
  bool valid() const { return fd_ >= 0; }
  int Release() { return std::exchange(fd_, -1); }
  void Reset();

 private:
  int fd_ = -1;
};

// open(2) with O_CLOEXEC added. Relative to `directory_fd` in the second form.
Result<Fd> OpenFile(const std::filesystem::path& path, int flags, mode_t mode = 0600);
Result<Fd> OpenFileAt(int directory_fd, const std::string& name, int flags, mode_t mode = 0600);

// Writes all of `data` at `offset_bytes`, or says why not (kResourceExhausted when the disk is
// full).
Status WriteAllAt(int fd, std::span<const char> data, uint64_t offset_bytes);
// Reads up to out.size() bytes; fewer only at the end of the file.
Result<size_t> ReadAt(int fd, std::span<char> out, uint64_t offset_bytes);
// fdatasync(2).
Status SyncData(int fd);
// fsync(2) of a directory, so that names made in it survive a power loss.
Status SyncDirectory(const std::filesystem::path& directory);
Result<uint64_t> FileSize(int fd);

// The whole file; kResourceExhausted when it is larger than `limit_bytes`.
Result<std::string> ReadFile(const std::filesystem::path& path, uint64_t limit_bytes);
// Replaces `path` in one step (temporary name, fsync, rename, fsync of the directory).
Status WriteFileAtomically(const std::filesystem::path& path, std::string_view content,
                           mode_t mode = 0644);
// mkdir -p.
Status MakeDirectories(const std::filesystem::path& path, mode_t mode = 0755);
// rm -rf that crosses no mount point and follows no link. OK when nothing is there.
Status RemoveTree(const std::filesystem::path& path);

// Text of /proc/sys/kernel/random/boot_id without the newline; "" where it cannot be read.
std::string BootId();

}  // namespace hearth
