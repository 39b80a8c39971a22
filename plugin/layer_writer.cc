#include "plugin/layer_writer.h"

#include <fcntl.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstring>
#include <set>
#include <string_view>
#include <utility>

namespace hearth::plugin {
namespace {

constexpr std::string_view kWhiteoutPrefix = ".wh.";
constexpr std::string_view kOpaqueName = ".wh..wh..opq";
constexpr mode_t kSpecialBits = 07000;
constexpr mode_t kGroupBits = 06000;  // inherited by what is made inside, so set last

Status Failed(const std::string& what, const std::string& path) {
  switch (errno) {
    case EINVAL:
    case ENAMETOOLONG:
    case ERANGE:
    case E2BIG:  // the entry asks for what no file system takes
      return InvalidArgument(what + " " + path + ": " + std::strerror(errno));
    default:
      break;
  }
  return ErrnoStatus(errno, what + " " + path);
}

}  // namespace

Result<LayerWriter> LayerWriter::Open(const std::filesystem::path& root, Options options) {
  return LayerWriter(TRY(LayerRoot::Open(root)), options);
}

LayerWriter::LayerWriter(LayerRoot root, Options options)
    : root_(std::move(root)),
      options_(options),
      uid_(::geteuid()),
      gid_(::getegid()),
      must_set_mode_(!options.umask_is_zero) {}

Status LayerWriter::Add(const TarEntry& entry, TarReader& body) {
  if (entry.uid < 0 || entry.uid > UINT32_MAX || entry.gid < 0 || entry.gid > UINT32_MAX) {
    return InvalidArgument(entry.name + ": owner is out of range");
  }
  const std::string name = CleanName(entry.name);
  if (name.empty()) return OkStatus();  // the root is not the tar's to change
  TRY_STATUS(CheckLength(name));
  const LayerRoot::Place place = TRY(root_.Locate(name));
  TRY_STATUS(CheckLength(place.path()));  // a link may lead to a longer one
  if (place.base.starts_with(kWhiteoutPrefix)) return AddWhiteout(place, entry);
  switch (entry.type) {
    case TarType::kFile:
      return AddFile(place, entry, body);
    case TarType::kDirectory:
      return AddDirectory(place, entry, name);
    case TarType::kHardLink:
      return AddHardLink(place, entry);
    case TarType::kSymlink:
      return AddSymlink(place, entry);
    case TarType::kGlobalHeader:
      return root_.Remove(place);  // as containerd: its name's place is cleared, and nothing made
    default:
      return AddNode(place, entry);
  }
}

// By a longer path neither containerd could make it nor we remove it.
Status LayerWriter::CheckLength(const std::string& path) const {
  if (root_.path().native().size() + 1 + path.size() < PATH_MAX) return OkStatus();
  return InvalidArgument("a path of " + std::to_string(path.size()) +
                         " bytes is too long: " + path.substr(0, NAME_MAX) + "...");
}

template <typename Make>
Result<int> LayerWriter::Replace(const LayerRoot::Place& place, Make make) {
  int made = make();
  if (made < 0 && errno == EEXIST) {
    TRY_STATUS(root_.Remove(place));
    made = make();
  }
  if (made < 0) return Failed("make", place.path());
  return made;
}

Status LayerWriter::AddFile(const LayerRoot::Place& place, const TarEntry& entry, TarReader& body) {
  const Fd fd(TRY(Replace(place, [&] {
    return ::openat(place.fd(), place.base.c_str(),
                    O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, entry.mode & 0777);
  })));
  TRY_STATUS(WriteBody(fd.get(), entry, body));
  // The order matters: a change of owner takes set-id bits and capabilities away.
  if (OwnerDiffers(entry) &&
      ::fchown(fd.get(), static_cast<uid_t>(entry.uid), static_cast<gid_t>(entry.gid)) < 0) {
    return Failed("chown", place.path());
  }
  if (!entry.xattrs.empty()) TRY_STATUS(SetXattrs(place.path(), fd.get(), entry));
  if ((must_set_mode_ || (entry.mode & kSpecialBits) != 0) && ::fchmod(fd.get(), entry.mode) < 0) {
    return Failed("chmod", place.path());
  }
  const timespec times[2] = {entry.atime, entry.mtime};
  if (::futimens(fd.get(), times) < 0) return Failed("set times of", place.path());
  struct stat info {};
  if (::fstat(fd.get(), &info) < 0) return Failed("stat", place.path());
  Count(info);
  return OkStatus();
}

Status LayerWriter::WriteBody(int fd, const TarEntry& entry, TarReader& body) {
  if (entry.size_bytes == 0) return OkStatus();
  uint64_t end = 0;
  TarBlock block;
  while (TRY(body.NextBlock(block))) {
    if (block.data.empty()) continue;
    auto written = WriteAllAt(fd, block.data, block.offset_bytes);
    if (!written.ok()) return written.Annotate("write " + entry.name);
    end = std::max(end, block.offset_bytes + block.data.size());
  }
  if (end < entry.size_bytes && ::ftruncate(fd, static_cast<off_t>(entry.size_bytes)) < 0) {
    return Failed("truncate", entry.name);
  }
  return OkStatus();
}

Status LayerWriter::AddDirectory(const LayerRoot::Place& place, const TarEntry& entry,
                                 const std::string& name) {
  bool merged = false;
  (void)TRY(Replace(place, [&] {
    const int made = ::mkdirat(place.fd(), place.base.c_str(), entry.mode & ~kGroupBits);
    if (made == 0 || errno != EEXIST) return made;
    struct stat info {};
    merged = ::fstatat(place.fd(), place.base.c_str(), &info, AT_SYMLINK_NOFOLLOW) == 0 &&
             S_ISDIR(info.st_mode);
    errno = EEXIST;
    return merged ? 0 : -1;
  }));
  if (merged) root_.MarkListed(place.path());
  if ((merged || OwnerDiffers(entry)) &&
      ::fchownat(place.fd(), place.base.c_str(), static_cast<uid_t>(entry.uid),
                 static_cast<gid_t>(entry.gid), AT_SYMLINK_NOFOLLOW) < 0) {
    return Failed("chown", place.path());
  }
  if (!entry.xattrs.empty()) {
    TRY_STATUS(SetXattrs(LayerRoot::ProcPath(place.fd(), place.base), -1, entry));
  }
  const bool set_mode = merged || must_set_mode_ || (entry.mode & kGroupBits) != 0;
  directories_.push_back({name, {entry.atime, entry.mtime}, entry.mode, set_mode, !merged});
  return OkStatus();
}

Status LayerWriter::AddHardLink(const LayerRoot::Place& place, const TarEntry& entry) {
  const size_t slash = entry.target.rfind('/');
  const std::string above = slash == entry.target.npos ? "" : entry.target.substr(0, slash);
  const std::string base =
      slash == entry.target.npos ? entry.target : entry.target.substr(slash + 1);
  const std::string what = "hard link " + place.path() + " to " + entry.target;
  if (base.empty() || base == "." || base == "..") {
    return InvalidArgument(what + ": the target is a directory");
  }
  const auto missing = [&] {
    return InvalidArgument(what + ": this layer holds no such file (a link to a file of a layer " +
                           "below cannot be made)");
  };
  auto directory = root_.OpenDirectory(CleanName(above));
  if (!directory.ok() && directory.status().code() == StatusCode::kNotFound) return missing();
  if (!directory.ok()) return directory.status().Annotate(what);
  auto linked = Replace(place, [&] {
    return ::linkat((*directory)->fd.get(), base.c_str(), place.fd(), place.base.c_str(), 0);
  });
  if (!linked.ok() && linked.status().code() == StatusCode::kNotFound) return missing();
  if (!linked.ok() && linked.status().code() == StatusCode::kPermissionDenied) {
    return InvalidArgument(what + ": the target is a directory");
  }
  TRY_STATUS(std::move(linked));
  struct stat info {};
  if (::fstatat(place.fd(), place.base.c_str(), &info, AT_SYMLINK_NOFOLLOW) < 0) {
    return Failed("stat", place.path());
  }
  // The owner is set even where it is right: that drops capabilities, there as here.
  return SetMetadata(place, entry, /*set_owner=*/true, /*set_mode=*/!S_ISLNK(info.st_mode));
}

Status LayerWriter::AddSymlink(const LayerRoot::Place& place, const TarEntry& entry) {
  if (entry.target.empty()) {
    return InvalidArgument("symbolic link " + place.path() + " has no target");
  }
  (void)TRY(Replace(
      place, [&] { return ::symlinkat(entry.target.c_str(), place.fd(), place.base.c_str()); }));
  TRY_STATUS(SetMetadata(place, entry, OwnerDiffers(entry), /*set_mode=*/false));
  struct stat info {};
  if (::fstatat(place.fd(), place.base.c_str(), &info, AT_SYMLINK_NOFOLLOW) < 0) {
    return Failed("stat", place.path());
  }
  Count(info);
  return OkStatus();
}

Status LayerWriter::AddNode(const LayerRoot::Place& place, const TarEntry& entry) {
  mode_t type = S_IFIFO;
  dev_t device = 0;
  if (entry.type != TarType::kFifo) {
    type = entry.type == TarType::kCharDevice ? S_IFCHR : S_IFBLK;
    if (entry.device_major > UINT32_MAX || entry.device_minor > UINT32_MAX) {
      return InvalidArgument(place.path() + ": device number is out of range");
    }
    device = ::makedev(static_cast<unsigned>(entry.device_major),
                       static_cast<unsigned>(entry.device_minor));
  }
  (void)TRY(Replace(
      place, [&] { return ::mknodat(place.fd(), place.base.c_str(), type | entry.mode, device); }));
  ++usage_.inodes;
  return SetMetadata(place, entry, OwnerDiffers(entry),
                     must_set_mode_ || (entry.mode & kSpecialBits) != 0);
}

Status LayerWriter::AddWhiteout(const LayerRoot::Place& place, const TarEntry& entry) {
  if (place.base == kOpaqueName) {
    if (options_.bottom) return RemoveImpliedBelow(place.directory->path);
    const std::string directory = LayerRoot::ProcPath(place.fd());
    if (::setxattr(directory.c_str(), "trusted.overlay.opaque", "y", 1, 0) < 0) {
      return Failed("mark as opaque", place.directory->path);
    }
    return OkStatus();
  }
  const LayerRoot::Place gone{place.directory, place.base.substr(kWhiteoutPrefix.size())};
  if (gone.base.empty() || gone.base == "." || gone.base == "..") {
    return InvalidArgument("invalid whiteout name " + place.path());
  }
  if (options_.bottom) return root_.Remove(gone);
  if (::mknodat(gone.fd(), gone.base.c_str(), S_IFCHR, ::makedev(0, 0)) < 0) {
    if (errno != EEXIST) return Failed("make whiteout", gone.path());
    return InvalidArgument("whiteout of " + gone.path() + ", which the same layer holds");
  }
  ++usage_.inodes;
  if (OwnerDiffers(entry) && ::fchownat(gone.fd(), gone.base.c_str(), static_cast<uid_t>(entry.uid),
                                        static_cast<gid_t>(entry.gid), AT_SYMLINK_NOFOLLOW) < 0) {
    return Failed("chown", gone.path());
  }
  return OkStatus();
}

// An opaque mark in a layer with nothing below keeps what the tar itself listed: only directories
// that it implied go, with all in them.
Status LayerWriter::RemoveImpliedBelow(const std::string& directory) {
  const std::string below = directory.empty() ? "" : directory + "/";
  std::vector<std::string> implied;
  for (auto it = root_.implied().lower_bound(below);
       it != root_.implied().end() && it->first.starts_with(below); ++it) {
    if (!it->second) implied.push_back(it->first);
  }
  for (const std::string& path : implied) {
    auto place = root_.Find(path);
    if (!place.ok() && place.status().code() == StatusCode::kNotFound) continue;  // went before
    TRY_STATUS(root_.Remove(TRY(std::move(place))));
  }
  return OkStatus();
}

Status LayerWriter::SetMetadata(const LayerRoot::Place& place, const TarEntry& entry,
                                bool set_owner, bool set_mode) {
  const char* base = place.base.c_str();
  if (set_owner && ::fchownat(place.fd(), base, static_cast<uid_t>(entry.uid),
                              static_cast<gid_t>(entry.gid), AT_SYMLINK_NOFOLLOW) < 0) {
    return Failed("chown", place.path());
  }
  if (!entry.xattrs.empty()) {
    TRY_STATUS(SetXattrs(LayerRoot::ProcPath(place.fd(), place.base), -1, entry));
  }
  if (set_mode && ::fchmodat(place.fd(), base, entry.mode, 0) < 0) {
    return Failed("chmod", place.path());
  }
  const timespec times[2] = {entry.atime, entry.mtime};
  if (::utimensat(place.fd(), base, times, AT_SYMLINK_NOFOLLOW) < 0) {
    return Failed("set times of", place.path());
  }
  return OkStatus();
}

// By descriptor where `fd` is one, else by `path`, whose last component is not followed.
Status LayerWriter::SetXattrs(const std::string& path, int fd, const TarEntry& entry) {
  for (const auto& [name, value] : entry.xattrs) {
    if (name.starts_with("trusted.")) continue;  // the host's to set, never an image's
    if (name.starts_with("system.")) must_set_mode_ = true;
    const int code = fd >= 0
                         ? ::fsetxattr(fd, name.c_str(), value.data(), value.size(), 0)
                         : ::lsetxattr(path.c_str(), name.c_str(), value.data(), value.size(), 0);
    if (code == 0 || errno == ENOTSUP) continue;
    const bool special = entry.type != TarType::kFile && entry.type != TarType::kDirectory;
    if (errno == EPERM && special && name.starts_with("user.")) continue;
    return Failed("set xattr " + name + " of", entry.name);
  }
  return OkStatus();
}

void LayerWriter::Count(const struct stat& info) {
  ++usage_.inodes;
  usage_.disk_bytes += static_cast<uint64_t>(info.st_blocks) * 512;
}

Status LayerWriter::Finish() {
  for (const ListedDirectory& listed : directories_) {
    // A directory that was replaced later: containerd sets the times of what its name leads to.
    const std::string name = root_.changed() ? TRY(root_.Resolve(listed.name)) : listed.name;
    if (name.empty()) continue;
    auto place = root_.Find(name);
    if (!place.ok()) return InvalidArgument(listed.name + " is a directory and later is not");
    const char* base = place->base.c_str();
    struct stat info {};
    if (::fstatat(place->fd(), base, &info, AT_SYMLINK_NOFOLLOW) < 0) {
      return InvalidArgument(listed.name + " is a directory and later is not");
    }
    if (listed.made) Count(info);
    const bool still = S_ISDIR(info.st_mode);
    if (still && listed.set_mode && ::fchmodat(place->fd(), base, listed.mode, 0) < 0) {
      return Failed("chmod", name);
    }
    if (::utimensat(place->fd(), base, listed.times, AT_SYMLINK_NOFOLLOW) < 0) {
      return Failed("set times of", name);
    }
  }
  return OkStatus();
}

Result<LayerWriter::Usage> LayerWriter::MeasureUsage() {
  if (root_.changed()) return WalkUsage();
  Usage usage = usage_;
  const auto add = [&](int fd, const char* base, int flags) {
    struct stat info {};
    if (::fstatat(fd, base, &info, flags) < 0) return false;
    ++usage.inodes;
    usage.disk_bytes += static_cast<uint64_t>(info.st_blocks) * 512;
    return true;
  };
  if (!add(AT_FDCWD, root_.path().c_str(), 0)) return Failed("stat", root_.path());
  for (const auto& [path, listed] : root_.implied()) {
    const LayerRoot::Place place = TRY(root_.Find(path));
    if (!add(place.fd(), place.base.c_str(), AT_SYMLINK_NOFOLLOW)) return Failed("stat", path);
  }
  return usage;
}

// Where something was removed again, the sums kept on the way are too high.
Result<LayerWriter::Usage> LayerWriter::WalkUsage() const {
  Usage usage;
  std::set<ino_t> linked;
  const auto add = [&](const std::filesystem::path& path) -> Status {
    struct stat info {};
    if (::lstat(path.c_str(), &info) < 0) return Failed("stat", path);
    if (!S_ISDIR(info.st_mode) && info.st_nlink > 1 && !linked.insert(info.st_ino).second) {
      return OkStatus();
    }
    ++usage.inodes;
    usage.disk_bytes += static_cast<uint64_t>(info.st_blocks) * 512;
    return OkStatus();
  };
  TRY_STATUS(add(root_.path()));
  std::error_code error;
  std::filesystem::recursive_directory_iterator it(root_.path(), error);
  while (!error && it != std::filesystem::end(it)) {
    TRY_STATUS(add(it->path()));
    it.increment(error);
  }
  if (error) return ErrnoStatus(error.value(), "walk " + root_.path().string());
  return usage;
}

std::vector<std::string> LayerWriter::ImpliedDirectories() const {
  std::vector<std::string> paths;
  for (const auto& [path, listed] : root_.implied()) paths.push_back(listed ? path + "/" : path);
  return paths;
}

}  // namespace hearth::plugin
