#include "base/file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>

namespace hearth {

namespace {

template <typename Call>
auto RetryInterrupted(Call call) {
  decltype(call()) result;
  do {
    result = call();
  } while (result < 0 && errno == EINTR);
  return result;
}

}  // namespace

void Fd::Reset() {
  if (fd_ >= 0) ::close(fd_);
  fd_ = -1;
}

Result<Fd> OpenFile(const std::filesystem::path& path, int flags, mode_t mode) {
  return OpenFileAt(AT_FDCWD, path.string(), flags, mode);
}

Result<Fd> OpenFileAt(int directory_fd, const std::string& name, int flags, mode_t mode) {
  const int fd = RetryInterrupted(
      [&] { return ::openat(directory_fd, name.c_str(), flags | O_CLOEXEC, mode); });
  if (fd < 0) return ErrnoStatus(errno, "open " + name);
  return Fd(fd);
}

Status WriteAllAt(int fd, std::span<const char> data, uint64_t offset_bytes) {
  while (!data.empty()) {
    const ssize_t written = RetryInterrupted(
        [&] { return ::pwrite(fd, data.data(), data.size(), static_cast<off_t>(offset_bytes)); });
    if (written < 0) return ErrnoStatus(errno, "write");
    if (written == 0) return ResourceExhausted("write: no progress");
    data = data.subspan(static_cast<size_t>(written));
    offset_bytes += static_cast<uint64_t>(written);
  }
  return OkStatus();
}

Result<size_t> ReadAt(int fd, std::span<char> out, uint64_t offset_bytes) {
  size_t total = 0;
  while (total < out.size()) {
    const ssize_t got = RetryInterrupted([&] {
      return ::pread(fd, out.data() + total, out.size() - total,
                     static_cast<off_t>(offset_bytes + total));
    });
    if (got < 0) return ErrnoStatus(errno, "read");
    if (got == 0) break;
    total += static_cast<size_t>(got);
  }
  return total;
}

Status SyncData(int fd) {
  if (RetryInterrupted([&] { return ::fdatasync(fd); }) < 0) return ErrnoStatus(errno, "fdatasync");
  return OkStatus();
}

Status SyncDirectory(const std::filesystem::path& directory) {
  const Fd fd = TRY(OpenFile(directory, O_RDONLY | O_DIRECTORY));
  if (RetryInterrupted([&] { return ::fsync(fd.get()); }) < 0) {
    return ErrnoStatus(errno, "fsync " + directory.string());
  }
  return OkStatus();
}

Result<uint64_t> FileSize(int fd) {
  struct stat info {};
  if (::fstat(fd, &info) < 0) return ErrnoStatus(errno, "fstat");
  return static_cast<uint64_t>(info.st_size);
}

Result<std::string> ReadFile(const std::filesystem::path& path, uint64_t limit_bytes) {
  const Fd fd = TRY(OpenFile(path, O_RDONLY));
  std::string content;
  constexpr size_t kStep = 64 * 1024;
  while (true) {
    const size_t old_size = content.size();
    content.resize(old_size + kStep);
    const size_t got =
        TRY(ReadAt(fd.get(), std::span<char>(content.data() + old_size, kStep), old_size));
    content.resize(old_size + got);
    if (content.size() > limit_bytes) {
      return ResourceExhausted(path.string() + ": larger than " + std::to_string(limit_bytes) +
                               " bytes");
    }
    if (got < kStep) return content;
  }
}

Status WriteFileAtomically(const std::filesystem::path& path, std::string_view content,
                           mode_t mode) {
  std::filesystem::path temporary = path;
  temporary += ".tmp" + std::to_string(::getpid());
  const auto write = [&]() -> Status {
    const Fd fd = TRY(OpenFile(temporary, O_WRONLY | O_CREAT | O_TRUNC, mode));
    TRY_STATUS(WriteAllAt(fd.get(), content, 0));
    if (::fchmod(fd.get(), mode) < 0) return ErrnoStatus(errno, "chmod " + temporary.string());
    if (::fsync(fd.get()) < 0) return ErrnoStatus(errno, "fsync " + temporary.string());
    if (::rename(temporary.c_str(), path.c_str()) < 0) {
      return ErrnoStatus(errno, "rename to " + path.string());
    }
    return SyncDirectory(path.has_parent_path() ? path.parent_path() : ".");
  };
  const Status status = write();
  if (!status.ok()) ::unlink(temporary.c_str());
  return status;
}

Status MakeDirectories(const std::filesystem::path& path, mode_t mode) {
  std::filesystem::path prefix;
  for (const auto& part : path) {
    prefix /= part;
    if (::mkdir(prefix.c_str(), mode) == 0 || errno == EEXIST || errno == EISDIR) continue;
    // A read-only or unwritable ancestor that exists is no obstacle.
    struct stat info {};
    const int mkdir_errno = errno;
    if (::stat(prefix.c_str(), &info) == 0 && S_ISDIR(info.st_mode)) continue;
    return ErrnoStatus(mkdir_errno, "mkdir " + prefix.string());
  }
  return OkStatus();
}

Status RemoveTree(const std::filesystem::path& path) {
  std::error_code error;
  std::filesystem::remove_all(path, error);
  if (error) return ErrnoStatus(error.value(), "remove " + path.string());
  return OkStatus();
}

std::string BootId() {
  auto text = ReadFile("/proc/sys/kernel/random/boot_id", 128);
  if (!text.ok()) return "";
  while (!text->empty() && text->back() == '\n') text->pop_back();
  return *text;
}

}  // namespace hearth
