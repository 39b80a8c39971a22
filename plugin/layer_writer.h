// LayerWriter: tar entries become the files of an overlayfs upper directory, as containerd makes
// them.
//
// Every rule follows what containerd's own apply leaves for the same archive (docs/formats.md):
// later entries replace earlier ones, directories merge, whiteouts become 0/0 character devices and
// opaque marks an xattr, metadata is set exactly, directories' times last. One thread, which owns
// its umask (see Options); the root outlives it and is changed by nobody else.
#pragma once

#include <sys/stat.h>
#include <sys/types.h>

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "base/status.h"
#include "plugin/layer_root.h"
#include "plugin/tar_reader.h"

namespace hearth::plugin {

class LayerWriter {
 public:
  struct Options {
    // The layer has none below: whiteouts remove instead of marking.
    bool bottom = false;
    // The calling thread's umask is 0, so that modes need not be set again.
    bool umask_is_zero = false;
  };

  struct Usage {
    uint64_t disk_bytes = 0;
    uint64_t inodes = 0;
  };

  // An existing, empty directory.
  static Result<LayerWriter> Open(const std::filesystem::path& root, Options options);

  // Writes `entry`; a file's body comes from `body`. kInvalidArgument for what containerd refuses
  // (names below a file, whiteouts of what the same layer holds, hard links to nothing),
  // kResourceExhausted when the disk is full.
  Status Add(const TarEntry& entry, TarReader& body);
  // Sets what must come last. Nothing may be added after it.
  Status Finish();

  // After Finish(): as du counts the tree, the root included.
  Result<Usage> MeasureUsage();
  // Directories that entries lay in; see Unpacked::implied_directories.
  std::vector<std::string> ImpliedDirectories() const;

 private:
  struct ListedDirectory {
    std::string name;  // clean, as in the tar
    timespec times[2];
    mode_t mode;
    bool set_mode;
    bool made;  // not merged into one that was there
  };

  LayerWriter(LayerRoot root, Options options);

  Status CheckLength(const std::string& path) const;
  Status AddFile(const LayerRoot::Place& place, const TarEntry& entry, TarReader& body);
  Status WriteBody(int fd, const TarEntry& entry, TarReader& body);
  Status AddDirectory(const LayerRoot::Place& place, const TarEntry& entry,
                      const std::string& name);
  Status AddHardLink(const LayerRoot::Place& place, const TarEntry& entry);
  Status AddSymlink(const LayerRoot::Place& place, const TarEntry& entry);
  Status AddNode(const LayerRoot::Place& place, const TarEntry& entry);
  Status AddWhiteout(const LayerRoot::Place& place, const TarEntry& entry);
  Result<Usage> WalkUsage() const;
  Status RemoveImpliedBelow(const std::string& directory);

  // Runs `make` (a system call), again after removing what was there.
  template <typename Make>
  Result<int> Replace(const LayerRoot::Place& place, Make make);
  // Owner, xattrs, mode and times of something that is no regular file.
  Status SetMetadata(const LayerRoot::Place& place, const TarEntry& entry, bool set_owner,
                     bool set_mode);
  Status SetXattrs(const std::string& path, int fd, const TarEntry& entry);
  bool OwnerDiffers(const TarEntry& entry) const { return entry.uid != uid_ || entry.gid != gid_; }
  void Count(const struct stat& info);

  LayerRoot root_;
  const Options options_;
  const uid_t uid_;
  const gid_t gid_;
  bool must_set_mode_;  // umask or a default ACL changes the modes of new files
  std::vector<ListedDirectory> directories_;
  // While nothing was removed: at first of all but directories, after Finish() of those too that
  // the tar carries.
  Usage usage_;
};

}  // namespace hearth::plugin
