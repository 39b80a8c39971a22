// LayerRoot: a layer's root directory, and the way from a name in a tar to a place below it.
//
// No name leads outside: directories are opened relative to the root with symbolic links refused by
// the kernel; links that the layer itself holds are resolved here, within the root, as containerd
// resolves them ("..", absolute names and targets stop at the root). Keeps descriptors of recently
// used directories. One thread at a time; nobody else changes the tree meanwhile.
#pragma once

#include <sys/stat.h>

#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/file.h"
#include "base/status.h"

namespace hearth::plugin {

// The components of `name` with ".", ".." and empty ones worked out, joined by "/"; no leading
// slash; "" is the root, which no name leaves.
std::string CleanName(std::string_view name);

class LayerRoot {
 public:
  // An open directory (O_PATH) and its path below the root without links, "" = the root.
  struct Directory {
    Fd fd;
    std::string path;
  };
  using DirectoryPtr = std::shared_ptr<const Directory>;

  // A name in an existing directory: never "", "." or "..".
  struct Place {
    DirectoryPtr directory;
    std::string base;

    int fd() const { return directory->fd.get(); }
    std::string path() const {
      return directory->path.empty() ? base : directory->path + "/" + base;
    }
  };

  static Result<LayerRoot> Open(const std::filesystem::path& root);

  // Where the clean, non-empty `name` lies. Directories that are missing above it are made with
  // mode 0755 and remembered as implied. kInvalidArgument when something above it is no directory.
  Result<Place> Locate(const std::string& name);
  // Same without making anything: kNotFound.
  Result<Place> Find(const std::string& name);
  // An open directory by its clean name; kNotFound, or kInvalidArgument when it is none.
  Result<DirectoryPtr> OpenDirectory(const std::string& name);
  // `name` with every link in it resolved, the last component's too; need not exist.
  Result<std::string> Resolve(const std::string& name);

  // rm -rf of what is at `place`; OK when nothing is there. Forgets implied directories below it.
  Status Remove(const Place& place);
  // Has Remove() taken away a directory or link, so that remembered paths may lead elsewhere?
  bool changed() const { return changed_; }

  // Directories made by Locate, parents first. The value tells whether the tar carried it later.
  const std::map<std::string, bool>& implied() const { return implied_; }
  // The tar carries `path` itself, after all.
  void MarkListed(const std::string& path);

  const std::filesystem::path& path() const { return root_path_; }
  // `base` in (or with "" itself) the open directory `fd`, for calls that take only paths.
  static std::string ProcPath(int fd, const std::string& base = "");

 private:
  static constexpr size_t kCacheLimit = 128;  // open directories

  LayerRoot(std::filesystem::path root_path, DirectoryPtr root);
  Result<DirectoryPtr> OpenResolved(const std::string& path);
  Result<DirectoryPtr> MakeDirectories(const std::string& path);
  void Remember(const std::string& name, DirectoryPtr directory);

  std::filesystem::path root_path_;
  DirectoryPtr root_;
  std::unordered_map<std::string, DirectoryPtr> cache_;  // by name as asked
  std::map<std::string, bool> implied_;
  bool changed_ = false;
};

}  // namespace hearth::plugin
