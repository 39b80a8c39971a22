// BlobStore: immutable bytes by digest. Complete blobs, and growing ones that somebody fetches.
//
// Bytes live in blobs/sha256/ab/<hex>; the index alone says whether a file is complete. A blob is
// complete only after its sha256 was verified and its data was synced. Any thread. Blobs handed out
// keep their file open, also after Delete.
//
// Words: *claimed*: containerd refers to it, so it is listed. *preheated*: somebody asked us to
// keep it; then containerd's Delete only drops the claim.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <stop_token>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/digest.h"
#include "base/status.h"
#include "base/thread.h"
#include "kv/kv.h"
#include "store/blob.h"
#include "store/disk.h"
#include "store/last_use.h"

namespace hearth::store {

// mtime and ctime of a blob's file. Whoever writes to it, or links or unlinks it, moves the latter,
// which no program can set back.
struct FileTimes {
  WallTime written;
  WallTime changed;
  friend bool operator==(const FileTimes&, const FileTimes&) = default;
};
// Errors as fstat().
Result<FileTimes> FileTimesOf(const Fd& file);

struct BlobInfo {
  Digest digest;
  uint64_t size_bytes = 0;
  WallTime created;
  WallTime updated;
  std::map<std::string, std::string> labels;
  bool claimed = false;
  bool preheated = false;
  WallTime pinned_until;  // epoch = not pinned
  WallTime last_used;     // opened, made or preheated; within kUseGranularity
  FileTimes file;         // when its bytes were last known to be right; epoch = not known
};

// What a growing blob has so far, for status displays and `store ls`.
struct PartialInfo {
  Digest digest;
  uint64_t size_bytes = 0;
  uint64_t present_bytes = 0;
  bool being_fetched = false;
  WallTime last_written;
};

class BlobStore {
 public:
  struct Options {
    std::filesystem::path root;  // holds blobs/
    kv::Kv& kv;
    ThreadPool& cpu_pool;  // hashes growing blobs
    const Clock& clock = RealClock();
    Disk& disk = RealDisk();
  };
  // Reads the index, sweeps files without a record and records without a file.
  static Result<std::unique_ptr<BlobStore>> Open(Options options);
  virtual ~BlobStore() = default;

  // Of a complete blob; kNotFound also while it grows. Never touches the disk beyond the index.
  virtual Result<BlobInfo> Info(const Digest& digest) const = 0;
  // Info(), and from now on the blob is claimed.
  virtual Result<BlobInfo> Claim(const Digest& digest) = 0;
  // Drops the claim; frees the blob unless it is preheated or pinned. OK when there is none.
  virtual Status Unclaim(const Digest& digest) = 0;
  // All claims at once; preheats, and unclaimed blobs, stay.
  virtual Status DropAllClaims() = 0;
  // A complete blob's bytes were right when its file had these times. kNotFound.
  virtual Status NoteRight(const Digest& digest, const FileTimes& times) = 0;
  // Marks a complete blob preheated, pinned until `until` where that is later than it was.
  virtual Status Preheat(const Digest& digest, std::optional<WallTime> pinned_until) = 0;
  // Takes the marks back; true: nobody else uses the blob, and it is gone. kNotFound.
  virtual Result<bool> DropPreheat(const Digest& digest) = 0;
  // Removes blob or partial, whatever its marks; kNotFound when there is none.
  virtual Status Remove(const Digest& digest) = 0;
  // Removes a complete blob, or the pieces of one that nobody fetches. kFailedPrecondition when it
  // is claimed, somebody reads it, or it was used since `unused_since`.
  virtual Status Evict(const Digest& digest, WallTime unused_since) = 0;
  // Puts the uses that it saw into the records, so that they outlive the process. For now and then.
  virtual Status RecordUses() = 0;
  // `labels` maps to the new value, "" deletes; `replace` drops those not named. Moves `updated`.
  virtual Result<BlobInfo> UpdateLabels(const Digest& digest,
                                        const std::map<std::string, std::string>& labels,
                                        bool replace) = 0;
  // Complete blobs in digest order until `visit` returns false; a snapshot of the moment, no lock
  // is held while `visit` runs.
  Status List(const std::function<bool(const BlobInfo&)>& visit) const {
    return ListAfter(std::nullopt, visit);
  }
  // Those behind `after`.
  virtual Status ListAfter(const std::optional<Digest>& after,
                           const std::function<bool(const BlobInfo&)>& visit) const = 0;
  virtual Status ListPartial(const std::function<bool(const PartialInfo&)>& visit) const = 0;

  // Bytes of it that are here, complete or not; 0 when none are.
  virtual uint64_t PresentBytes(const Digest& digest) const = 0;
  // A complete blob's bytes (descriptors are cached). kNotFound also while it grows.
  virtual Result<std::shared_ptr<Blob>> Open(const Digest& digest) = 0;
  // The blob that is being fetched now; null when nobody does.
  virtual std::shared_ptr<Blob> FindGrowing(const Digest& digest) = 0;
  // The one growing blob of that digest: made, resumed from its pieces on disk, or joined. A
  // complete blob comes back complete. kInvalidArgument when the size disagrees with what is known;
  // kResourceExhausted when the disk cannot take it. `writer` says whether the caller is the (only)
  // writer and must Write until done or Fail().
  struct Grown {
    std::shared_ptr<Blob> blob;
    bool writer = false;
  };
  virtual Result<Grown> Grow(const Digest& digest, uint64_t size_bytes) = 0;

  // Takes `file` (already synced, hash already known to be `digest`) in as a complete blob,
  // claimed. Joins a growing blob's readers to it. kAlreadyExists when it is complete already: the
  // file is left to the caller.
  virtual Result<BlobInfo> Adopt(const std::filesystem::path& file, const Digest& digest,
                                 uint64_t size_bytes,
                                 const std::map<std::string, std::string>& labels) = 0;

  // Rehashes complete blobs; `problem` gets one line for each that is wrong. Drops the wrong ones
  // when `repair`.
  virtual Status Verify(bool repair, const std::function<void(const std::string&)>& problem,
                        std::stop_token stop) = 0;
};

}  // namespace hearth::store
