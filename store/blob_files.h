// BlobFiles: the files blobs/sha256/ab/<hex>. Knows names and syncs, nothing of records.
//
// Any thread; two calls for one digest must not overlap (the store sees to that).
#pragma once

#include <array>
#include <atomic>
#include <filesystem>
#include <functional>
#include <memory>
#include <stop_token>

#include "base/clock.h"
#include "base/digest.h"
#include "base/file.h"
#include "store/disk.h"

namespace hearth::store {

class BlobFiles {
 public:
  // Makes `root`/blobs/sha256 where it is missing.
  static Result<BlobFiles> Open(const std::filesystem::path& root, Disk& disk);

  std::filesystem::path PathOf(const Digest& digest) const;
  // For reading. kNotFound.
  Result<Fd> Open(const Digest& digest) const;
  // For reading and writing, as large as `size_bytes`; emptied first unless `keep`.
  Result<Fd> Create(const Digest& digest, uint64_t size_bytes, bool keep) const;
  // `file` gets the blob's name too, in place of what had it.
  Status Take(const std::filesystem::path& file, const Digest& digest) const;
  // kNotFound.
  Result<WallTime> LastWritten(const Digest& digest) const;
  // Reads it all: kDataLoss when size or digest are not these; kCancelled.
  Status Check(const Digest& digest, uint64_t size_bytes, std::stop_token stop) const;
  // The blob's name, until now only there, survives a power loss.
  Status SyncName(const Digest& digest) const;
  Status Remove(const Digest& digest) const;
  // kResourceExhausted when fewer than `needed_bytes` are free.
  Status CheckSpace(const Digest& digest, uint64_t needed_bytes) const;
  // Calls `visit` for each file; `digest` is null when it is none of ours.
  Status Walk(const std::function<void(const std::filesystem::path& path, const Digest* digest)>&
                  visit) const;
  Status RemovePath(const std::filesystem::path& path) const { return disk_->Unlink(path); }
  // Also a directory with all that is in it.
  Status RemoveStray(const std::filesystem::path& path) const { return disk_->RemoveStray(path); }

 private:
  BlobFiles(std::filesystem::path directory, Disk& disk)
      : directory_(std::move(directory)), disk_(&disk) {}
  Status MakeParent(const Digest& digest) const;
  // The name of the directory that MakeParent() made survives a power loss.
  Status SyncParent(const Digest& digest) const;

  std::filesystem::path directory_;  // blobs/sha256
  Disk* disk_;
  // What is known of each of its directories. That one is there does not say that its name is on
  // disk: whoever made it may not have come to the sync.
  enum class Parent : uint8_t { kUnknown, kMade, kSynced };
  using Parents = std::array<std::atomic<Parent>, 256>;
  std::shared_ptr<Parents> parents_ = std::make_shared<Parents>();
};

}  // namespace hearth::store
