#include "store/blob_store.h"

#include <algorithm>
#include <array>
#include <unordered_map>
#include <utility>

#include "base/log.h"
#include "store/blob_files.h"
#include "store/blob_index.h"
#include "store/blob_sweep.h"
#include "store/complete_blob.h"
#include "store/growing_blob.h"
#include "store/open_blobs.h"

namespace hearth::store {

namespace {

constexpr size_t kMaxGrowing = 1024;
constexpr size_t kDigestLocks = 64;
constexpr size_t kVerifyReadBytes = 1 << 20;

// Changes of one digest's record and file happen under that digest's lock (also the sync of its
// commit: others go on); maps of blobs in memory under `mutex_`, always the inner one.
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
  Status Preheat(const Digest& digest, std::optional<WallTime> pinned_until) override;
  Status Remove(const Digest& digest) override;
  Result<BlobInfo> UpdateLabels(const Digest& digest,
                                const std::map<std::string, std::string>& labels,
                                bool replace) override;
  Status List(const std::function<bool(const BlobInfo&)>& visit) const override;
  Status ListPartial(const std::function<bool(const PartialInfo&)>& visit) const override;
  Result<std::shared_ptr<Blob>> Open(const Digest& digest) override;
  std::shared_ptr<Blob> FindGrowing(const Digest& digest) override;
  Result<Grown> Grow(const Digest& digest, uint64_t size_bytes) override;
  Result<BlobInfo> Adopt(const std::filesystem::path& file, const Digest& digest,
                         uint64_t size_bytes,
                         const std::map<std::string, std::string>& labels) override;
  Status Verify(bool repair, const std::function<void(const std::string&)>& problem,
                std::stop_token stop) override;

 private:
  Status KeepPieces(GrowingBlob& blob, const PieceBitmap& pieces) override;
  Status CommitGrown(GrowingBlob& blob) override;
  void DropWrong(GrowingBlob& blob, Status why) override;
  void ReleaseFailed(GrowingBlob& blob) override;
  void TaskBegins() override;
  void TaskEnds() override;

  Mutex& LockOf(const Digest& digest) const {
    return digest_locks_[digest.bytes()[0] % kDigestLocks];
  }
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
  Status VerifyOne(const BlobInfo& info, std::stop_token stop) const;

  const Options options_;
  BlobIndex index_;
  const BlobFiles files_;
  mutable std::array<Mutex, kDigestLocks> digest_locks_;

  mutable Mutex mutex_;
  CondVar idle_;
  int tasks_ GUARDED_BY(mutex_) = 0;
  std::unordered_map<Digest, std::shared_ptr<GrowingBlob>> growing_ GUARDED_BY(mutex_);
  OpenBlobs open_ GUARDED_BY(mutex_);
};

DiskBlobStore::~DiskBlobStore() {
  std::vector<std::shared_ptr<GrowingBlob>> growing;
  {
    MutexLock lock(mutex_);
    for (const auto& [digest, blob] : growing_) growing.push_back(blob);
  }
  for (const auto& blob : growing) blob->Fail(Cancelled("the store is closing"));
  MutexLock lock(mutex_);
  while (tasks_ > 0) idle_.Wait(mutex_);
}

// --- marks ---

Result<BlobInfo> DiskBlobStore::Claim(const Digest& digest) {
  MutexLock lock(LockOf(digest));
  BlobInfo info = TRY(index_.Find(digest));
  if (info.claimed) return info;
  info.claimed = true;
  TRY_STATUS(index_.Put(info));
  return info;
}

Status DiskBlobStore::Unclaim(const Digest& digest) {
  MutexLock lock(LockOf(digest));
  auto found = index_.Find(digest);
  if (found.status().code() == StatusCode::kNotFound) return OkStatus();
  BlobInfo info = TRY(std::move(found));
  if (!info.preheated && info.pinned_until <= options_.clock.WallNow()) return RemoveHeld(digest);
  if (!info.claimed) return OkStatus();
  info.claimed = false;
  return index_.Put(info);
}

Status DiskBlobStore::DropAllClaims() {
  Status failed;
  TRY_STATUS(index_.Scan([&](const std::string& /*key*/, const Result<BlobInfo>& seen) {
    if (!seen.ok() || !seen->claimed) return true;
    MutexLock lock(LockOf(seen->digest));
    auto info = index_.Find(seen->digest);
    if (!info.ok() || !info->claimed) return true;
    info->claimed = false;
    failed = index_.Put(*info);
    return failed.ok();
  }));
  return failed;
}

Status DiskBlobStore::Preheat(const Digest& digest, std::optional<WallTime> pinned_until) {
  MutexLock lock(LockOf(digest));
  BlobInfo info = TRY(index_.Find(digest));
  info.preheated = true;
  if (pinned_until) info.pinned_until = std::max(info.pinned_until, *pinned_until);
  return index_.Put(info);
}

Result<BlobInfo> DiskBlobStore::UpdateLabels(const Digest& digest,
                                             const std::map<std::string, std::string>& labels,
                                             bool replace) {
  MutexLock lock(LockOf(digest));
  BlobInfo info = TRY(index_.Find(digest));
  if (replace) info.labels.clear();
  for (const auto& [key, value] : labels) {
    if (value.empty()) {
      info.labels.erase(key);
    } else {
      info.labels[key] = value;
    }
  }
  info.updated = options_.clock.WallNow();
  TRY_STATUS(index_.Put(info));
  return info;
}

// --- lists ---

Status DiskBlobStore::List(const std::function<bool(const BlobInfo&)>& visit) const {
  return index_.Scan([&](const std::string& /*key*/, const Result<BlobInfo>& info) {
    return info.ok() ? visit(*info) : true;
  });
}

Status DiskBlobStore::ListPartial(const std::function<bool(const PartialInfo&)>& visit) const {
  return index_.ScanPieces([&](const std::string& key, const Result<PiecesRecord>& pieces) {
    const auto digest = Digest::Parse(key);
    if (!digest.ok() || !pieces.ok()) return true;
    const auto growing = Growing(*digest);
    if (growing != nullptr) {
      return visit({*digest, growing->size_bytes(), growing->PresentBytes(),
                    growing->state() == Blob::State::kGrowing});
    }
    const Pieces on_disk(pieces->size_bytes, pieces->piece_size_bytes, pieces->bitmap);
    return visit({*digest, on_disk.size_bytes(), on_disk.PresentBytes(), false});
  });
}

// --- bytes ---

Result<std::shared_ptr<Blob>> DiskBlobStore::Open(const Digest& digest) {
  {
    MutexLock lock(mutex_);
    if (auto blob = open_.Find(digest)) return blob;
  }
  MutexLock lock(LockOf(digest));
  const BlobInfo info = TRY(index_.Find(digest));
  return OpenHeld(digest, info.size_bytes);
}

Result<std::shared_ptr<Blob>> DiskBlobStore::OpenHeld(const Digest& digest, uint64_t size_bytes) {
  {
    MutexLock lock(mutex_);
    if (auto blob = open_.Find(digest)) return blob;
  }
  auto file = files_.Open(digest);
  if (file.status().code() == StatusCode::kNotFound) {
    return DataLoss("blob " + digest.ToString() + " is in the index but its file is gone; run " +
                    "`hearth store verify --repair`");
  }
  auto blob =
      MakeCompleteBlob(digest, size_bytes, std::make_shared<const Fd>(TRY(std::move(file))));
  MutexLock lock(mutex_);
  open_.Add(blob);
  return blob;
}

std::shared_ptr<GrowingBlob> DiskBlobStore::Growing(const Digest& digest) const {
  MutexLock lock(mutex_);
  const auto found = growing_.find(digest);
  return found == growing_.end() ? nullptr : found->second;
}

std::shared_ptr<Blob> DiskBlobStore::FindGrowing(const Digest& digest) {
  auto blob = Growing(digest);
  if (blob != nullptr && blob->state() != Blob::State::kGrowing) return nullptr;
  return blob;
}

Result<BlobStore::Grown> DiskBlobStore::Grow(const Digest& digest, uint64_t size_bytes) {
  std::shared_ptr<GrowingBlob> made;
  {
    MutexLock lock(LockOf(digest));
    const auto other_size = [&](uint64_t known) {
      return InvalidArgument("blob " + digest.ToString() + " has " + std::to_string(known) +
                             " bytes, not " + std::to_string(size_bytes));
    };
    const auto info = index_.Find(digest);
    if (info.ok()) {
      if (info->size_bytes != size_bytes) return other_size(info->size_bytes);
      return Grown{TRY(OpenHeld(digest, size_bytes)), false};
    }
    if (info.status().code() != StatusCode::kNotFound) return info.status();
    if (const auto growing = Growing(digest)) {
      if (growing->state() == Blob::State::kGrowing) {
        if (growing->size_bytes() != size_bytes) return other_size(growing->size_bytes());
        return Grown{growing, false};
      }
      ReleaseFailedHeld(*growing);
    }
    made = TRY(MakeGrowingHeld(digest, size_bytes));
  }
  made->Start();
  return Grown{made, true};
}

Result<std::shared_ptr<GrowingBlob>> DiskBlobStore::MakeGrowingHeld(const Digest& digest,
                                                                    uint64_t size_bytes) {
  PiecesRecord record{size_bytes, PieceSizeFor(size_bytes), PieceBitmap()};
  record.bitmap = PieceBitmap(PieceCount(size_bytes, record.piece_size_bytes));
  auto stored = index_.FindPieces(digest);
  // Nobody vouches for the size of an unfinished blob; the digest will judge the new one.
  const bool resume = stored.ok() && stored->size_bytes == size_bytes && files_.Open(digest).ok();
  if (resume) record = *stored;
  Pieces pieces(size_bytes, record.piece_size_bytes, record.bitmap);
  const uint64_t missing = size_bytes - pieces.PresentBytes();
  TRY_STATUS(files_.CheckSpace(digest, missing + TRY(PromisedBytes())));
  if (!resume) TRY_STATUS(index_.PutPieces(digest, record));
  auto file = files_.Create(digest, size_bytes, resume);
  if (!file.ok()) {
    if (!resume) (void)index_.Remove(digest);
    return file.status();
  }
  auto blob = std::make_shared<GrowingBlob>(GrowingBlob::Options{.digest = digest,
                                                                 .pieces = std::move(pieces),
                                                                 .file = std::move(*file),
                                                                 .owner = *this,
                                                                 .disk = options_.disk,
                                                                 .pool = options_.cpu_pool});
  MutexLock lock(mutex_);
  growing_[digest] = blob;
  return blob;
}

Result<uint64_t> DiskBlobStore::PromisedBytes() const {
  MutexLock lock(mutex_);
  if (growing_.size() >= kMaxGrowing) {
    return ResourceExhausted(std::to_string(kMaxGrowing) +
                             " blobs are being fetched at once; try again when some are done");
  }
  uint64_t promised = 0;
  for (const auto& [digest, blob] : growing_) promised += blob->size_bytes() - blob->PresentBytes();
  return promised;
}

BlobInfo DiskBlobStore::NewInfo(const Digest& digest, uint64_t size_bytes) const {
  BlobInfo info;
  info.digest = digest;
  info.size_bytes = size_bytes;
  info.created = options_.clock.WallNow();
  info.updated = info.created;
  return info;
}

Result<BlobInfo> DiskBlobStore::Adopt(const std::filesystem::path& file, const Digest& digest,
                                      uint64_t size_bytes,
                                      const std::map<std::string, std::string>& labels) {
  BlobInfo info = NewInfo(digest, size_bytes);
  info.labels = labels;
  info.claimed = true;
  std::shared_ptr<GrowingBlob> growing;
  Result<Fd> adopted = Fd();
  Status done;
  {
    MutexLock lock(LockOf(digest));
    const auto known = index_.Find(digest);
    if (known.ok()) return AlreadyExists("blob " + digest.ToString() + " is in the store already");
    if (known.status().code() != StatusCode::kNotFound) return known.status();
    growing = Growing(digest);
    done = files_.Take(file, digest);
    // Before the record is made: once there is one, nothing may fail any more.
    if (done.ok()) done = (adopted = files_.Open(digest)).status();
    if (done.ok()) done = index_.PutComplete(info);
    if (done.ok()) {
      (void)files_.RemovePath(file);
    } else {
      // The caller goes on with the file, so it must not have the blob's name. Pieces that were
      // under that name are lost; a record of them without a file counts for nothing.
      (void)files_.Remove(digest);
    }
    if (growing != nullptr && !growing->BeginCommit()) growing = nullptr;
    MutexLock maps(mutex_);
    growing_.erase(digest);
  }
  if (growing != nullptr && !done.ok()) growing->Abandon(done);
  TRY_STATUS(done);
  if (growing != nullptr) growing->Complete(std::make_shared<const Fd>(std::move(*adopted)));
  return info;
}

// --- what growing blobs ask for ---

Status DiskBlobStore::KeepPieces(GrowingBlob& blob, const PieceBitmap& pieces) {
  MutexLock lock(LockOf(blob.digest()));
  if (!IsGrowing(blob)) return OkStatus();
  return index_.PutPieces(blob.digest(), {blob.size_bytes(), blob.piece_size_bytes(), pieces});
}

Status DiskBlobStore::CommitGrown(GrowingBlob& blob) {
  {
    MutexLock lock(LockOf(blob.digest()));
    if (!IsGrowing(blob) || !blob.BeginCommit()) return OkStatus();
    TRY_STATUS(files_.SyncName(blob.digest()));
    TRY_STATUS(index_.PutComplete(NewInfo(blob.digest(), blob.size_bytes())));
    MutexLock maps(mutex_);
    open_.Add(MakeCompleteBlob(blob.digest(), blob.size_bytes(), blob.file()));
    growing_.erase(blob.digest());
  }
  blob.Complete(nullptr);
  return OkStatus();
}

void DiskBlobStore::DropWrong(GrowingBlob& blob, Status why) {
  Status removed;
  {
    MutexLock lock(LockOf(blob.digest()));
    if (!IsGrowing(blob)) return;
    removed = RemoveHeld(blob.digest());
  }
  LOG_WARNING("wrong bytes dropped", {{"digest", blob.digest().ToString()}, {"reason", why}});
  if (!removed.ok()) {
    LOG_ERROR("wrong bytes not removed",
              {{"digest", blob.digest().ToString()}, {"error", removed}});
  }
  blob.Abandon(std::move(why));
}

void DiskBlobStore::ReleaseFailed(GrowingBlob& blob) {
  MutexLock lock(LockOf(blob.digest()));
  ReleaseFailedHeld(blob);
}

void DiskBlobStore::ReleaseFailedHeld(GrowingBlob& blob) {
  if (!IsGrowing(blob)) return;
  const auto pieces = blob.SyncPieces();
  Status kept = pieces.status();
  if (kept.ok() && pieces->Count() == 0) {
    kept = RemoveHeld(blob.digest());  // nothing to resume from
  } else if (kept.ok()) {
    kept = index_.PutPieces(blob.digest(), {blob.size_bytes(), blob.piece_size_bytes(), *pieces});
  }
  if (!kept.ok()) {
    LOG_WARNING("pieces not recorded; they are fetched again",
                {{"digest", blob.digest().ToString()}, {"error", kept}});
  }
  MutexLock lock(mutex_);
  growing_.erase(blob.digest());
}

void DiskBlobStore::TaskBegins() {
  MutexLock lock(mutex_);
  ++tasks_;
}

void DiskBlobStore::TaskEnds() {
  MutexLock lock(mutex_);
  if (--tasks_ == 0) idle_.NotifyAll();
}

// --- removal, verification ---

Status DiskBlobStore::Remove(const Digest& digest) {
  std::shared_ptr<GrowingBlob> growing;
  {
    MutexLock lock(LockOf(digest));
    growing = Growing(digest);
    const auto info = index_.Find(digest);
    if (growing == nullptr && info.status().code() == StatusCode::kNotFound &&
        index_.FindPieces(digest).status().code() == StatusCode::kNotFound) {
      return info.status();
    }
    TRY_STATUS(RemoveHeld(digest));
  }
  if (growing != nullptr) {
    growing->Abandon(Aborted("blob " + digest.ToString() + " was removed while it was fetched"));
  }
  return OkStatus();
}

// First the record, so that a crash leaves a file that the next start sweeps.
Status DiskBlobStore::RemoveHeld(const Digest& digest) {
  TRY_STATUS(index_.Remove(digest));
  {
    MutexLock lock(mutex_);
    open_.Remove(digest);
    growing_.erase(digest);
  }
  return files_.Remove(digest);
}

Status DiskBlobStore::VerifyOne(const BlobInfo& info, std::stop_token stop) const {
  const Fd file = TRY(files_.Open(info.digest));
  const uint64_t size = TRY(FileSize(file.get()));
  if (size != info.size_bytes) {
    return DataLoss("the file has " + std::to_string(size) + " bytes, the record says " +
                    std::to_string(info.size_bytes));
  }
  Sha256 hash;
  std::vector<char> buffer(kVerifyReadBytes);
  for (uint64_t at = 0; at < size;) {
    if (stop.stop_requested()) return Cancelled("verification");
    const size_t got = TRY(ReadAt(file.get(), buffer, at));
    if (got == 0) return DataLoss("the file ends at byte " + std::to_string(at));
    hash.Update(buffer.data(), got);
    at += got;
  }
  const Digest actual = hash.Current();
  if (actual != info.digest) return DataLoss("its bytes have digest " + actual.ToString());
  return OkStatus();
}

Status DiskBlobStore::Verify(bool repair, const std::function<void(const std::string&)>& problem,
                             std::stop_token stop) {
  std::vector<Digest> wrong;
  TRY_STATUS(index_.Scan([&](const std::string& key, const Result<BlobInfo>& info) {
    if (stop.stop_requested()) return false;
    const Status status = info.ok() ? VerifyOne(*info, stop) : info.status();
    if (status.ok() || status.code() == StatusCode::kCancelled) return true;
    if (info.ok() && index_.Find(info->digest).status().code() == StatusCode::kNotFound) {
      return true;  // removed meanwhile
    }
    problem("blob " + key + ": " + status.message());
    if (const auto digest = Digest::Parse(key); digest.ok()) wrong.push_back(*digest);
    return true;
  }));
  TRY_STATUS(files_.Walk([&](const std::filesystem::path& path, const Digest* digest) {
    if (digest == nullptr) {
      problem(path.string() + ": not a file of ours");
      return;
    }
    MutexLock lock(LockOf(*digest));
    if (index_.Find(*digest).status().code() == StatusCode::kNotFound &&
        index_.FindPieces(*digest).status().code() == StatusCode::kNotFound &&
        std::filesystem::exists(path)) {
      problem(path.string() + ": no record says what it is");
    }
  }));
  if (stop.stop_requested()) return Cancelled("verification");
  for (const auto& digest : wrong) {
    if (repair) TRY_STATUS(Remove(digest));
  }
  return OkStatus();
}

}  // namespace

Result<std::unique_ptr<BlobStore>> BlobStore::Open(Options options) {
  BlobFiles files = TRY(BlobFiles::Open(options.root, options.disk));
  auto store = std::make_unique<DiskBlobStore>(options, std::move(files));
  TRY_STATUS(SweepBlobs(store->index(), store->files()));
  return std::unique_ptr<BlobStore>(std::move(store));
}

}  // namespace hearth::store
