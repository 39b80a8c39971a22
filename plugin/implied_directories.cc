// What unpacker.h says of directories that a tar implies: they look like those of the layers below.
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cerrno>
#include <string>
#include <string_view>
#include <vector>

#include "plugin/layer_root.h"
#include "plugin/unpacker.h"

namespace hearth::plugin {
namespace {

constexpr size_t kXattrLimitBytes = 64 * 1024;  // the kernel's, for one value and for the list

// All but "trusted.", which is the host's; those that `to` has already stay.
Status CopyXattrs(const std::string& from, const std::string& to) {
  std::string names(kXattrLimitBytes, '\0');
  const ssize_t size = ::llistxattr(from.c_str(), names.data(), names.size());
  if (size < 0 && (errno == ENOTSUP || errno == ENODATA)) return OkStatus();
  if (size < 0) return ErrnoStatus(errno, "list xattrs of " + from);
  std::string_view left(names.data(), static_cast<size_t>(size));
  std::string value(kXattrLimitBytes, '\0');
  while (!left.empty()) {
    const std::string name(left.substr(0, left.find('\0')));
    left.remove_prefix(std::min(left.size(), name.size() + 1));
    if (name.starts_with("trusted.")) continue;
    const ssize_t got = ::lgetxattr(from.c_str(), name.c_str(), value.data(), value.size());
    if (got < 0 && (errno == ENOTSUP || errno == ENODATA)) continue;
    if (got < 0) return ErrnoStatus(errno, "get xattr " + name + " of " + from);
    if (::lsetxattr(to.c_str(), name.c_str(), value.data(), static_cast<size_t>(got),
                    XATTR_CREATE) < 0 &&
        errno != EEXIST && errno != ENOTSUP && errno != ENODATA) {
      return ErrnoStatus(errno, "set xattr " + name + " of " + to);
    }
  }
  return OkStatus();
}

Status CopyAttributes(const LayerRoot::Place& from, const struct stat& info,
                      const LayerRoot::Place& to, bool only_xattrs) {
  const char* base = to.base.c_str();
  if (!only_xattrs) {
    if (::fchownat(to.fd(), base, info.st_uid, info.st_gid, AT_SYMLINK_NOFOLLOW) < 0 ||
        ::fchmodat(to.fd(), base, info.st_mode & 07777, 0) < 0) {
      return ErrnoStatus(errno, "set owner and mode of " + to.path());
    }
  }
  TRY_STATUS(
      CopyXattrs(LayerRoot::ProcPath(from.fd(), from.base), LayerRoot::ProcPath(to.fd(), to.base)));
  // With anything made in it since, the directory's own time is the unpack's, there as here.
  std::error_code error;
  const bool empty = std::filesystem::is_empty(LayerRoot::ProcPath(to.fd(), to.base), error);
  if (error) return ErrnoStatus(error.value(), "list " + to.path());
  const timespec times[2] = {info.st_atim, empty ? info.st_mtim : timespec{0, UTIME_OMIT}};
  if (!only_xattrs && ::utimensat(to.fd(), base, times, AT_SYMLINK_NOFOLLOW) < 0) {
    return ErrnoStatus(errno, "set times of " + to.path());
  }
  return OkStatus();
}

// What mkdir(2) takes from a set-group-ID directory above: the group.
Status InheritGroup(const LayerRoot::Place& place) {
  struct stat above {};
  if (::fstat(place.fd(), &above) < 0) return ErrnoStatus(errno, "stat above " + place.path());
  if ((above.st_mode & S_ISGID) == 0) return OkStatus();
  if (::fchownat(place.fd(), place.base.c_str(), static_cast<uid_t>(-1), above.st_gid,
                 AT_SYMLINK_NOFOLLOW) < 0) {
    return ErrnoStatus(errno, "set group of " + place.path());
  }
  return OkStatus();
}

// From the first of `lower` that has something at `path`; nothing to copy where that is no
// directory.
Status ResolveOne(const LayerRoot::Place& place, const std::string& path, bool only_xattrs,
                  std::vector<LayerRoot>& lower) {
  for (LayerRoot& layer : lower) {
    auto resolved = layer.Resolve(path);
    if (!resolved.ok()) {
      if (resolved.status().code() == StatusCode::kInvalidArgument) return OkStatus();
      return resolved.status();
    }
    if (resolved->empty()) return OkStatus();
    auto from = layer.Find(*resolved);
    if (!from.ok()) {
      if (from.status().code() == StatusCode::kNotFound) continue;
      if (from.status().code() == StatusCode::kInvalidArgument) return OkStatus();
      return from.status();
    }
    struct stat info {};
    if (::fstatat(from->fd(), from->base.c_str(), &info, AT_SYMLINK_NOFOLLOW) < 0) {
      if (errno == ENOENT) continue;
      return ErrnoStatus(errno, "stat " + path + " in " + layer.path().string());
    }
    if (!S_ISDIR(info.st_mode)) return OkStatus();  // replaced there
    return CopyAttributes(*from, info, place, only_xattrs);
  }
  return only_xattrs ? OkStatus() : InheritGroup(place);
}

}  // namespace

Status ResolveImpliedDirectories(const std::filesystem::path& root,
                                 const std::vector<std::filesystem::path>& lower,
                                 const std::vector<std::string>& implied_directories) {
  if (implied_directories.empty()) return OkStatus();
  LayerRoot upper = TRY(LayerRoot::Open(root));
  std::vector<LayerRoot> layers;
  for (const std::filesystem::path& path : lower) layers.push_back(TRY(LayerRoot::Open(path)));
  for (const std::string& marked : implied_directories) {
    const std::string path = CleanName(marked);
    if (path.empty()) continue;
    const LayerRoot::Place place = TRY(upper.Find(path));
    auto resolved = ResolveOne(place, path, marked.ends_with('/'), layers);
    if (!resolved.ok()) return resolved.Annotate("directory " + path + " implied by a layer");
  }
  return OkStatus();
}

}  // namespace hearth::plugin
