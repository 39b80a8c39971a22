// DiskBlobStore: BlobStore over the index and files on disk.
//
// Changes of one digest's record and file happen under that digest's lock (also the sync of its
// commit: others go on); maps of blobs in memory under `mutex_`, always the inner one.
#pragma once

#include <memory>
#include <unordered_map>
#include <utility>

#include "base/lru_map.h"
#include "store/blob_files.h"
#include "store/blob_index.h"
#include "store/blob_store.h"
#include "store/digest_locks.h"
#include "store/growing_blob.h"
#include "store/verify_queue.h"

namespace hearth::store {

class DiskBlobStore final : public BlobStore, private GrowingBlobOwner {
 public:
  DiskBlobStore(const Options& options, BlobFiles files)
      : options_(options), index_(options.kv), files_(std::move(files)) {}
  ~DiskBlobStore() override;

  BlobIndex& index() { return index_; }
  const BlobFiles& files() const { return files_; }

  Result<BlobInfo> Info(const Digest& digest) const override { return index_.Find(digest); }
  Result<BlobInfo> Claim(const Digest& digest) override;
  Status Unclaim(const Digest& digest) override;
  Status DropAllClaims() override;
  Status NoteRight(const Digest& digest, const FileTimes& times) override;
  Status Preheat(const Digest& digest, std::optional<WallTime> pinned_until) override;
  Result<bool> DropPreheat(const Digest& digest) override;
  Status Remove(const Digest& digest) override;
  Status Evict(const Digest& digest, WallTime unused_since) override;
  Status RecordUses() override;
  Result<BlobInfo> UpdateLabels(const Digest& digest,
                                const std::map<std::string, std::string>& labels,
                                bool replace) override;
  Status ListAfter(const std::optional<Digest>& after,
                   const std::function<bool(const BlobInfo&)>& visit) const override;
  Status ListPartial(const std::function<bool(const PartialInfo&)>& visit) const override;
  uint64_t PresentBytes(const Digest& digest) const override;
  Result<std::shared_ptr<Blob>> Open(const Digest& digest) override;
  std::shared_ptr<Blob> FindGrowing(const Digest& digest) override;
  Result<Grown> Grow(const Digest& digest, uint64_t size_bytes) override;
  Result<BlobInfo> Adopt(const std::filesystem::path& file, const Digest& digest,
                         uint64_t size_bytes,
                         const std::map<std::string, std::string>& labels) override;
  Status Verify(bool repair, const std::function<void(const std::string&)>& problem,
                std::stop_token stop) override;

 private:
  static constexpr size_t kMaxOpen = 256;  // descriptors that are kept

  Status KeepPieces(GrowingBlob& blob, const PieceBitmap& pieces) override;
  Status CommitGrown(GrowingBlob& blob) override;
  void DropWrong(GrowingBlob& blob, Status why) override;
  void ReleaseFailed(GrowingBlob& blob) override;

  // "Held": the digest's lock is.
  Result<std::shared_ptr<Blob>> OpenHeld(const Digest& digest, uint64_t size_bytes);
  Status RemoveHeld(const Digest& digest);
  void ReleaseFailedHeld(GrowingBlob& blob);
  Result<std::shared_ptr<GrowingBlob>> MakeGrowingHeld(const Digest& digest, uint64_t size_bytes);
  BlobInfo NewInfo(const Digest& digest, uint64_t size_bytes) const;
  std::shared_ptr<GrowingBlob> Growing(const Digest& digest) const;
  bool IsGrowing(const GrowingBlob& blob) const { return Growing(blob.digest()).get() == &blob; }
  // Bytes that the growing blobs will still take.
  Result<uint64_t> PromisedBytes() const;
  // Now; `mutex_` is held.
  void NoteUse(const Digest& digest) REQUIRES(mutex_);
  Status RecordUse(const Digest& digest, WallTime used);

  const Options options_;
  BlobIndex index_;
  const BlobFiles files_;
  mutable DigestLocks digest_locks_;

  mutable Mutex mutex_;
  std::unordered_map<Digest, std::shared_ptr<GrowingBlob>> growing_ GUARDED_BY(mutex_);
  LruMap<Digest, std::shared_ptr<Blob>> open_ GUARDED_BY(mutex_){kMaxOpen};  // complete ones
  std::unordered_map<Digest, WallTime> uses_ GUARDED_BY(mutex_);  // not in the records yet

  VerifyQueue verify_{options_.cpu_pool};
};

}  // namespace hearth::store
