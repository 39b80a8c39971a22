#include "store/blob_store.h"

#include <sys/stat.h>

#include <algorithm>
#include <utility>

#include "base/log.h"
#include "store/blob_sweep.h"
#include "store/complete_blob.h"
#include "store/disk_blob_store.h"

namespace hearth::store {

namespace {

constexpr size_t kMaxGrowing = 1024;

WallTime TimeOf(const timespec& time) {
  return WallTime(std::chrono::seconds(time.tv_sec) + std::chrono::nanoseconds(time.tv_nsec));
}

}  // namespace

Result<FileTimes> FileTimesOf(const Fd& file) {
  struct stat info {};
  if (::fstat(file.get(), &info) != 0) return ErrnoStatus(errno, "look at a blob's file");
  return FileTimes{TimeOf(info.st_mtim), TimeOf(info.st_ctim)};
}

DiskBlobStore::~DiskBlobStore() {
  std::vector<std::shared_ptr<GrowingBlob>> growing;
  {
    MutexLock lock(mutex_);
    for (const auto& [digest, blob] : growing_) growing.push_back(blob);
  }
  for (const auto& blob : growing) blob->Fail(Cancelled("the store is closing"));
  verify_.Join();
}

// --- marks ---

Result<BlobInfo> DiskBlobStore::Claim(const Digest& digest) {
  // containerd asks under its database lock: what needs no change does not wait, not even for the
  // sync of this blob's own commit.
  if (auto known = index_.Find(digest); !known.ok() || known->claimed) return known;
  const DigestLocks::Hold held(digest_locks_, digest);
  BlobInfo info = TRY(index_.Find(digest));
  if (info.claimed) return info;
  info.claimed = true;
  TRY_STATUS(index_.Put(info));
  return info;
}

Status DiskBlobStore::Unclaim(const Digest& digest) {
  const DigestLocks::Hold held(digest_locks_, digest);
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
    const DigestLocks::Hold held(digest_locks_, seen->digest);
    auto info = index_.Find(seen->digest);
    if (!info.ok() || !info->claimed) return true;
    info->claimed = false;
    failed = index_.Put(*info);
    return failed.ok();
  }));
  return failed;
}

Status DiskBlobStore::NoteRight(const Digest& digest, const FileTimes& times) {
  const DigestLocks::Hold held(digest_locks_, digest);
  BlobInfo info = TRY(index_.Find(digest));
  info.file = times;
  return index_.Put(info);
}

Status DiskBlobStore::Preheat(const Digest& digest, std::optional<WallTime> pinned_until) {
  const DigestLocks::Hold held(digest_locks_, digest);
  BlobInfo info = TRY(index_.Find(digest));
  info.preheated = true;
  info.last_used = options_.clock.WallNow();
  if (pinned_until) info.pinned_until = std::max(info.pinned_until, *pinned_until);
  return index_.Put(info);
}

Result<bool> DiskBlobStore::DropPreheat(const Digest& digest) {
  const DigestLocks::Hold held(digest_locks_, digest);
  BlobInfo info = TRY(index_.Find(digest));
  if (!info.claimed) {
    TRY_STATUS(RemoveHeld(digest));
    return true;
  }
  info.preheated = false;
  info.pinned_until = WallTime();
  TRY_STATUS(index_.Put(info));
  return false;
}

Result<BlobInfo> DiskBlobStore::UpdateLabels(const Digest& digest,
                                             const std::map<std::string, std::string>& labels,
                                             bool replace) {
  const DigestLocks::Hold held(digest_locks_, digest);
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

Status DiskBlobStore::ListAfter(const std::optional<Digest>& after,
                                const std::function<bool(const BlobInfo&)>& visit) const {
  const std::string key = after ? after->ToString() : "";
  return index_.ScanAfter(key, [&](const std::string& /*key*/, const Result<BlobInfo>& info) {
    return info.ok() ? visit(*info) : true;
  });
}

Status DiskBlobStore::ListPartial(const std::function<bool(const PartialInfo&)>& visit) const {
  return index_.ScanPieces([&](const std::string& key, const Result<PiecesRecord>& pieces) {
    const auto digest = Digest::Parse(key);
    if (!digest.ok() || !pieces.ok()) return true;
    const auto stat = files_.LastWritten(*digest);
    const WallTime written = stat.ok() ? *stat : WallTime();
    const auto growing = Growing(*digest);
    if (growing != nullptr) {
      return visit({*digest, growing->size_bytes(), growing->PresentBytes(),
                    growing->state() == Blob::State::kGrowing, written});
    }
    const Pieces on_disk(pieces->size_bytes, pieces->piece_size_bytes, pieces->bitmap);
    return visit({*digest, on_disk.size_bytes(), on_disk.PresentBytes(), false, written});
  });
}

uint64_t DiskBlobStore::PresentBytes(const Digest& digest) const {
  if (const auto info = index_.Find(digest); info.ok()) return info->size_bytes;
  if (const auto growing = Growing(digest)) return growing->PresentBytes();
  const auto pieces = index_.FindPieces(digest);
  if (!pieces.ok()) return 0;
  return Pieces(pieces->size_bytes, pieces->piece_size_bytes, pieces->bitmap).PresentBytes();
}

// --- bytes ---

Result<std::shared_ptr<Blob>> DiskBlobStore::Open(const Digest& digest) {
  {
    MutexLock lock(mutex_);
    if (const auto* blob = open_.Find(digest)) {
      NoteUse(digest);
      return *blob;
    }
  }
  const DigestLocks::Hold held(digest_locks_, digest);
  const BlobInfo info = TRY(index_.Find(digest));
  return OpenHeld(digest, info.size_bytes);
}

Result<std::shared_ptr<Blob>> DiskBlobStore::OpenHeld(const Digest& digest, uint64_t size_bytes) {
  {
    MutexLock lock(mutex_);
    NoteUse(digest);
    if (const auto* blob = open_.Find(digest)) return *blob;
  }
  auto file = files_.Open(digest);
  if (file.status().code() == StatusCode::kNotFound) {
    return DataLoss("blob " + digest.ToString() + " is in the index but its file is gone; run " +
                    "`hearth store verify --repair`");
  }
  auto blob =
      MakeCompleteBlob(digest, size_bytes, std::make_shared<const Fd>(TRY(std::move(file))));
  MutexLock lock(mutex_);
  open_.Put(digest, blob);
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
    const DigestLocks::Hold held(digest_locks_, digest);
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
                                                                 .verify = verify_,
                                                                 .clock = options_.clock});
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
  info.last_used = info.created;
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
    const DigestLocks::Hold held(digest_locks_, digest);
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
      // Losing its other name moved the ctime. Without these the first check hashes it.
      if (const auto times = FileTimesOf(*adopted); times.ok()) {
        info.file = *times;
        (void)index_.Put(info);
      }
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
  const DigestLocks::Hold held(digest_locks_, blob.digest());
  if (!IsGrowing(blob)) return OkStatus();
  return index_.PutPieces(blob.digest(), {blob.size_bytes(), blob.piece_size_bytes(), pieces});
}

Status DiskBlobStore::CommitGrown(GrowingBlob& blob) {
  {
    const DigestLocks::Hold held(digest_locks_, blob.digest());
    if (!IsGrowing(blob) || !blob.BeginCommit()) return OkStatus();
    TRY_STATUS(files_.SyncName(blob.digest()));
    BlobInfo info = NewInfo(blob.digest(), blob.size_bytes());
    info.file = TRY(FileTimesOf(*blob.file()));
    TRY_STATUS(index_.PutComplete(info));
    MutexLock maps(mutex_);
    open_.Put(blob.digest(), MakeCompleteBlob(blob.digest(), blob.size_bytes(), blob.file()));
    growing_.erase(blob.digest());
  }
  blob.Complete(nullptr);
  return OkStatus();
}

void DiskBlobStore::DropWrong(GrowingBlob& blob, Status why) {
  Status removed;
  {
    const DigestLocks::Hold held(digest_locks_, blob.digest());
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
  const DigestLocks::Hold held(digest_locks_, blob.digest());
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

Result<std::unique_ptr<BlobStore>> BlobStore::Open(Options options) {
  BlobFiles files = TRY(BlobFiles::Open(options.root, options.disk));
  auto store = std::make_unique<DiskBlobStore>(options, std::move(files));
  TRY_STATUS(SweepBlobs(store->index(), store->files()));
  return std::unique_ptr<BlobStore>(std::move(store));
}

}  // namespace hearth::store
