#include "plugin/layer_root.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <climits>
#include <utility>

namespace hearth::plugin {
namespace {

constexpr int kLinkLimit = 255;  // links followed for one name, as in containerd
constexpr int kDirectoryFlags = O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;

std::pair<std::string, std::string> Split(const std::string& name) {
  const size_t slash = name.rfind('/');
  if (slash == name.npos) return {"", name};
  return {name.substr(0, slash), name.substr(slash + 1)};
}

// One component after the other; for kernels and sandboxes without openat2.
int OpenByComponents(int root, const std::string& path, int flags) {
  Fd current;
  size_t begin = 0;
  while (true) {
    const size_t slash = path.find('/', begin);
    const bool last = slash == path.npos;
    const std::string part = path.substr(begin, last ? path.npos : slash - begin);
    const int from = current.valid() ? current.get() : root;
    const int fd = ::openat(from, part.c_str(), last ? flags : kDirectoryFlags);
    if (fd < 0 || last) return fd;
    current = Fd(fd);
    begin = slash + 1;
  }
}

// Opens `path` below `root`; a link above the last component is ELOOP or ENOTDIR. The last one may
// be a link only with O_PATH | O_NOFOLLOW, which opens the link itself.
int OpenBeneath(int root, const std::string& path, int flags) {
  static std::atomic<bool> has_openat2 = true;
  if (has_openat2.load(std::memory_order_relaxed)) {
    open_how how{};
    how.flags = static_cast<uint64_t>(flags);
    how.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS;
    while (true) {
      const long fd = ::syscall(SYS_openat2, root, path.c_str(), &how, sizeof(how));
      if (fd >= 0) return static_cast<int>(fd);
      if (errno == EAGAIN || errno == EINTR) continue;
      // A sandbox that does not know the call may answer EPERM.
      if (errno != ENOSYS && errno != EPERM) return -1;
      if (errno == ENOSYS) has_openat2 = false;
      break;
    }
  }
  return OpenByComponents(root, path, flags);
}

// Target of the link at `path`, "" where it is no link or does not exist. What lies above is free
// of links.
Result<std::string> LinkTarget(int root, const std::string& path) {
  const Fd fd(OpenBeneath(root, path, O_PATH | O_NOFOLLOW | O_CLOEXEC));
  if (!fd.valid() && errno == ENOENT) return std::string();
  if (!fd.valid() && errno == ENOTDIR) {
    return InvalidArgument(path + ": something above it is no directory");
  }
  if (!fd.valid()) return ErrnoStatus(errno, "open " + path);
  std::string target(PATH_MAX, '\0');
  const ssize_t size = ::readlinkat(fd.get(), "", target.data(), target.size());
  target.resize(size < 0 ? 0 : static_cast<size_t>(size));  // an error means: no link
  return target;
}

}  // namespace

std::string CleanName(std::string_view name) {
  std::string clean;
  clean.reserve(name.size());
  while (!name.empty()) {
    const size_t slash = name.find('/');
    const std::string_view part = name.substr(0, slash);
    name.remove_prefix(slash == name.npos ? name.size() : slash + 1);
    if (part.empty() || part == ".") continue;
    if (part == "..") {
      const size_t last = clean.rfind('/');
      clean.resize(last == clean.npos ? 0 : last);
      continue;
    }
    if (!clean.empty()) clean += '/';
    clean += part;
  }
  return clean;
}

Result<LayerRoot> LayerRoot::Open(const std::filesystem::path& root) {
  Fd fd = TRY(OpenFile(root, O_PATH | O_DIRECTORY));
  return LayerRoot(root, std::make_shared<const Directory>(Directory{std::move(fd), ""}));
}

LayerRoot::LayerRoot(std::filesystem::path root_path, DirectoryPtr root)
    : root_path_(std::move(root_path)), root_(std::move(root)) {}

Result<LayerRoot::Place> LayerRoot::Locate(const std::string& name) {
  auto [parent, base] = Split(name);
  auto found = OpenDirectory(parent);
  if (found.ok()) return Place{*std::move(found), std::move(base)};
  if (found.status().code() != StatusCode::kNotFound) return found.status();
  DirectoryPtr made = TRY(MakeDirectories(TRY(Resolve(parent))));
  Remember(parent, made);
  return Place{std::move(made), std::move(base)};
}

Result<LayerRoot::Place> LayerRoot::Find(const std::string& name) {
  auto [parent, base] = Split(name);
  return Place{TRY(OpenDirectory(parent)), std::move(base)};
}

Result<LayerRoot::DirectoryPtr> LayerRoot::OpenDirectory(const std::string& name) {
  if (name.empty()) return root_;
  if (const auto known = cache_.find(name); known != cache_.end()) return known->second;
  auto opened = OpenResolved(name);
  if (!opened.ok() && opened.status().code() == StatusCode::kInvalidArgument) {
    // A link on the way, or really no directory.
    const std::string resolved = TRY(Resolve(name));
    if (resolved.empty()) return root_;
    opened = OpenResolved(resolved);
  }
  if (opened.ok()) Remember(name, *opened);
  return opened;
}

Result<LayerRoot::DirectoryPtr> LayerRoot::OpenResolved(const std::string& path) {
  Fd fd(OpenBeneath(root_->fd.get(), path, kDirectoryFlags));
  if (fd.valid()) return std::make_shared<const Directory>(Directory{std::move(fd), path});
  if (errno == ENOTDIR || errno == ELOOP) return InvalidArgument(path + " is no directory");
  return ErrnoStatus(errno, "open " + path);
}

void LayerRoot::Remember(const std::string& name, DirectoryPtr directory) {
  if (cache_.size() >= kCacheLimit) cache_.clear();
  cache_.insert_or_assign(name, std::move(directory));
}

// A link's target takes the link's place in the path lexically, and all begins anew, until no
// component is a link.
Result<std::string> LayerRoot::Resolve(const std::string& name) {
  std::string path = name;
  int links = 0;
  size_t end = 0;  // path[0, end) is free of links
  while (end < path.size()) {
    size_t next = path.find('/', end == 0 ? 0 : end + 1);
    if (next == path.npos) next = path.size();
    const std::string prefix = path.substr(0, next);
    const std::string target = TRY(LinkTarget(root_->fd.get(), prefix));
    if (target.empty()) {
      end = next;
      continue;
    }
    if (++links > kLinkLimit) return InvalidArgument(name + ": too many symbolic links");
    const std::string above = target.front() == '/' ? std::string() : Split(prefix).first;
    path = CleanName(above + "/" + target + path.substr(next));
    end = 0;
  }
  return path;
}

Result<LayerRoot::DirectoryPtr> LayerRoot::MakeDirectories(const std::string& path) {
  DirectoryPtr current = root_;
  size_t begin = 0;
  while (begin < path.size()) {
    size_t slash = path.find('/', begin);
    if (slash == path.npos) slash = path.size();
    const std::string part = path.substr(begin, slash - begin);
    const std::string prefix = path.substr(0, slash);
    int fd = ::openat(current->fd.get(), part.c_str(), kDirectoryFlags);
    if (fd < 0 && errno == ENOENT) {
      // The second call undoes a umask.
      if (::mkdirat(current->fd.get(), part.c_str(), 0755) < 0 ||
          ::fchmodat(current->fd.get(), part.c_str(), 0755, 0) < 0) {
        return ErrnoStatus(errno, "mkdir " + prefix);
      }
      implied_.insert_or_assign(prefix, false);
      fd = ::openat(current->fd.get(), part.c_str(), kDirectoryFlags);
    }
    if (fd < 0 && (errno == ENOTDIR || errno == ELOOP)) {
      return InvalidArgument(prefix + " is no directory, but an entry lies below it");
    }
    if (fd < 0) return ErrnoStatus(errno, "open " + prefix);
    current = std::make_shared<const Directory>(Directory{Fd(fd), prefix});
    begin = slash + 1;
  }
  return current;
}

Status LayerRoot::Remove(const Place& place) {
  const std::string path = place.path();
  if (::unlinkat(place.fd(), place.base.c_str(), 0) == 0) {
    changed_ = true;
    cache_.clear();  // it may have been a link on the way to a directory
    return OkStatus();
  }
  if (errno == ENOENT) return OkStatus();
  if (errno != EISDIR) return ErrnoStatus(errno, "unlink " + path);
  changed_ = true;
  cache_.clear();
  // Every component of `path` is a directory of ours: it holds no link that could be followed.
  TRY_STATUS(RemoveTree(root_path_ / path));
  implied_.erase(path);
  const std::string below = path + "/";
  auto it = implied_.lower_bound(below);
  while (it != implied_.end() && it->first.starts_with(below)) it = implied_.erase(it);
  return OkStatus();
}

void LayerRoot::MarkListed(const std::string& path) {
  if (const auto it = implied_.find(path); it != implied_.end()) it->second = true;
}

std::string LayerRoot::ProcPath(int fd, const std::string& base) {
  std::string path = "/proc/self/fd/" + std::to_string(fd);
  return base.empty() ? path : path + "/" + base;
}

}  // namespace hearth::plugin
