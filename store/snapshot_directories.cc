#include "store/snapshot_directories.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <set>
#include <system_error>
#include <utility>

#include "base/file.h"

namespace hearth::store {

namespace {

constexpr uint32_t kRootMode = 0711;
constexpr uint32_t kDirectoryMode = 0700;
constexpr uint32_t kFsMode = 0755;
constexpr uint32_t kWorkMode = 0711;

// Whatever the process's umask is.
Status MakeWithMode(Disk& disk, const std::filesystem::path& path, uint32_t mode) {
  TRY_STATUS(disk.MakeDirectory(path, mode));
  if (::chmod(path.c_str(), mode) < 0) return ErrnoStatus(errno, "chmod " + path.string());
  return OkStatus();
}

// One tree. Symbolic links are not followed; past what cannot be removed it goes on.
struct Removal {
  Disk& disk;
  const std::stop_token& stop;
  const std::function<void(const std::stop_token&)>& pause;
  int removed = 0;

  Status Remove(const std::filesystem::path& path) {
    std::error_code error;
    const auto type = std::filesystem::symlink_status(path, error).type();
    if (type == std::filesystem::file_type::not_found) return OkStatus();
    const bool directory = type == std::filesystem::file_type::directory;
    if (directory) TRY_STATUS(RemoveChildren(path));
    Status gone = disk.Remove(path);
    if (!gone.ok() && directory) {
      // A list read while its names went may have left some out.
      TRY_STATUS(RemoveChildren(path));
      gone = disk.Remove(path);
    }
    TRY_STATUS(gone);
    if (++removed % kRemovalsPerTurn == 0) pause(stop);
    return OkStatus();
  }

  Status RemoveChildren(const std::filesystem::path& path) {
    Status first;
    std::error_code error;
    std::filesystem::directory_iterator it(path, error);
    for (; !error && it != std::filesystem::directory_iterator(); it.increment(error)) {
      if (stop.stop_requested()) return Cancelled("removal of " + path.string());
      const Status gone = Remove(it->path());
      // Deeper than a path may be long: the caller has another way.
      if (gone.code() == StatusCode::kInvalidArgument) return gone;
      if (first.ok()) first = gone;
    }
    if (error) return ErrnoStatus(error.value(), "list " + path.string());
    return first;
  }
};

}  // namespace

Result<SnapshotDirectories> SnapshotDirectories::Open(const std::filesystem::path& root,
                                                      Disk& disk) {
  TRY_STATUS(MakeWithMode(disk, root / "snapshots", kRootMode));
  return SnapshotDirectories(root / "snapshots", disk);
}

Status SnapshotDirectories::Make(uint64_t directory, uint64_t like) const {
  const Status made = MakeParts(directory, like);
  if (!made.ok()) (void)RemoveTree(PathOf(directory));
  return made;
}

Status SnapshotDirectories::MakeParts(uint64_t directory, uint64_t like) const {
  const std::filesystem::path path = PathOf(directory);
  TRY_STATUS(MakeWithMode(*disk_, path, kDirectoryMode));
  TRY_STATUS(MakeWithMode(*disk_, path / "fs", kFsMode));
  TRY_STATUS(MakeWithMode(*disk_, path / "work", kWorkMode));
  if (like == 0) return OkStatus();
  const std::filesystem::path model = PathOf(like) / "fs";
  struct stat info {};
  if (::stat(model.c_str(), &info) < 0) return ErrnoStatus(errno, "stat " + model.string());
  const std::filesystem::path fs = path / "fs";
  if (::lchown(fs.c_str(), info.st_uid, info.st_gid) < 0) {
    return ErrnoStatus(errno, "chown " + fs.string());
  }
  return OkStatus();
}

Result<bool> SnapshotDirectories::Exists(uint64_t directory) const {
  if (directory == 0) return false;
  const std::filesystem::path fs = PathOf(directory) / "fs";
  struct stat info {};
  if (::lstat(fs.c_str(), &info) == 0) return S_ISDIR(info.st_mode);
  if (errno == ENOENT || errno == ENOTDIR) return false;
  return ErrnoStatus(errno, "stat " + fs.string());
}

Result<SnapshotUsage> SnapshotDirectories::Measure(uint64_t directory) const {
  SnapshotUsage usage;
  std::set<std::pair<dev_t, ino_t>> linked;  // files with several names
  const auto count = [&](const std::filesystem::path& path) {
    struct stat info {};
    if (::lstat(path.c_str(), &info) < 0) return;  // gone meanwhile: an active snapshot is in use
    if (!S_ISDIR(info.st_mode) && info.st_nlink > 1 &&
        !linked.emplace(info.st_dev, info.st_ino).second) {
      return;
    }
    usage.size_bytes += static_cast<uint64_t>(info.st_blocks) * 512;
    ++usage.inodes;
  };
  const std::filesystem::path fs = PathOf(directory) / "fs";
  count(fs);
  std::error_code error;
  std::filesystem::recursive_directory_iterator it(
      fs, std::filesystem::directory_options::skip_permission_denied, error);
  for (; !error && it != std::filesystem::recursive_directory_iterator(); it.increment(error)) {
    count(it->path());
  }
  if (error && error != std::errc::no_such_file_or_directory) {
    return ErrnoStatus(error.value(), "measure " + fs.string());
  }
  return usage;
}

Status SnapshotDirectories::Remove(uint64_t directory, const std::stop_token& stop,
                                   const std::function<void(const std::stop_token&)>& pause) const {
  Removal removal{*disk_, stop, pause};
  const Status status = removal.Remove(PathOf(directory));
  // A tree deeper than a path may be long goes only step by step.
  return status.code() == StatusCode::kInvalidArgument ? RemoveTree(PathOf(directory)) : status;
}

Status SnapshotDirectories::Walk(
    const std::function<void(const std::filesystem::path&, std::optional<uint64_t>)>& visit) const {
  std::error_code error;
  std::filesystem::directory_iterator it(root_, error);
  for (; !error && it != std::filesystem::directory_iterator(); it.increment(error)) {
    const std::string name = it->path().filename().string();
    uint64_t number = 0;
    const auto parsed = std::from_chars(name.data(), name.data() + name.size(), number);
    const bool ours = parsed.ec == std::errc() && std::to_string(number) == name && number != 0;
    visit(it->path(), ours ? std::optional(number) : std::nullopt);
  }
  if (error) return ErrnoStatus(error.value(), "walk " + root_.string());
  return OkStatus();
}

}  // namespace hearth::store
