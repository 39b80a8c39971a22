// SnapshotDirectories: the directories snapshots/<n>/{fs,work}. Knows no records.
//
// Any thread; two calls for one directory must not overlap.
#pragma once

#include <filesystem>
#include <functional>
#include <optional>
#include <stop_token>

#include "base/status.h"
#include "store/disk.h"
#include "store/snapshot_store.h"

namespace hearth::store {

class SnapshotDirectories {
 public:
  // Makes `root`/snapshots where it is missing.
  static Result<SnapshotDirectories> Open(const std::filesystem::path& root, Disk& disk);

  // fs and work, `fs` 0755 and owned as that of `like` (0 = root's). Nothing is left on an error.
  Status Make(uint64_t directory, uint64_t like) const;
  // Whether it has an `fs`. An error of the disk is no answer.
  Result<bool> Exists(uint64_t directory) const;
  // Disk blocks and inodes of `fs`; a file with several names counts once.
  Result<SnapshotUsage> Measure(uint64_t directory) const;
  // Removes the tree; calls `pause` after each kRemovalsPerTurn files, so that others get at the
  // disk. kCancelled: some is left.
  Status Remove(uint64_t directory, const std::stop_token& stop,
                const std::function<void(const std::stop_token&)>& pause) const;
  // `number` is none where the name is not one of ours.
  Status Walk(const std::function<void(const std::filesystem::path& path,
                                       std::optional<uint64_t> number)>& visit) const;

 private:
  SnapshotDirectories(std::filesystem::path root, Disk& disk)
      : root_(std::move(root)), disk_(&disk) {}
  std::filesystem::path PathOf(uint64_t directory) const {
    return root_ / std::to_string(directory);
  }
  Status MakeParts(uint64_t directory, uint64_t like) const;

  std::filesystem::path root_;  // …/snapshots
  Disk* disk_;
};

}  // namespace hearth::store
