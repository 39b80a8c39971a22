#include "store/open_ingest.h"

#include <fcntl.h>

#include <algorithm>
#include <utility>

#include "base/log.h"

namespace hearth::store {

namespace {

constexpr size_t kHashReadBytes = 1 << 20;
// The kernel is asked to write after so much, and waited for after so much.
constexpr uint64_t kWritebackStepBytes = 4ull << 20;
constexpr uint64_t kSyncStepBytes = 32ull << 20;

}  // namespace

OpenIngest::OpenIngest(IngestOwner& store, IngestRecord record, Fd file, uint64_t offset_bytes,
                       std::optional<Sha256> hash)
    : store_(store),
      ref_(record.ref),
      file_(std::move(file)),
      hash_(std::move(hash)),
      written_back_bytes_(offset_bytes),
      record_(std::move(record)),
      offset_bytes_(offset_bytes) {}

OpenIngest::~OpenIngest() {
  if (ended()) return;
  const IngestRecord last = record();
  const Status put = store_.Put(*this, last);
  if (!put.ok() && put.code() != StatusCode::kNotFound) {
    LOG_WARNING("ingest not recorded", {{"ref", last.ref}, {"error", put}});
  }
  std::optional<KeptHash> kept;
  if (hash_) kept = KeptHash{last.file, offset(), std::move(*hash_)};
  store_.Release(*this, std::move(kept));
}

IngestInfo OpenIngest::Info() const {
  MutexLock lock(mutex_);
  return {.ref = record_.ref,
          .offset_bytes = offset_bytes_,
          .total_bytes = record_.total_bytes,
          .expected = record_.expected,
          .started = record_.started,
          .updated = record_.updated};
}

bool OpenIngest::ended() const {
  MutexLock lock(mutex_);
  return ended_;
}

void OpenIngest::MarkEnded() {
  MutexLock lock(mutex_);
  ended_ = true;
}

IngestRecord OpenIngest::record() const {
  MutexLock lock(mutex_);
  return record_;
}

uint64_t OpenIngest::offset() const {
  MutexLock lock(mutex_);
  return offset_bytes_;
}

Status OpenIngest::CheckLive() const {
  MutexLock lock(mutex_);
  if (ended_) return NotFound("ingest \"" + record_.ref + "\" was committed or aborted");
  return OkStatus();
}

Status OpenIngest::Hash() {
  if (hash_) return OkStatus();
  Sha256 hash;
  const uint64_t end = offset();
  std::string buffer(kHashReadBytes, '\0');
  for (uint64_t at = 0; at < end;) {
    const auto step = std::span(buffer).first(std::min<uint64_t>(buffer.size(), end - at));
    const size_t got = TRY(ReadAt(file_.get(), step, at));
    if (got == 0) return DataLoss("ingest \"" + ref() + "\": its file was cut by somebody else");
    hash.Update(buffer.data(), got);
    at += got;
  }
  hash_ = std::move(hash);
  return OkStatus();
}

Result<Digest> OpenIngest::CurrentDigest() {
  TRY_STATUS(CheckLive());
  TRY_STATUS(Hash());
  return hash_->Current();
}

Result<Fd> OpenIngest::OpenForReading() const {
  TRY_STATUS(CheckLive());
  Fd copy(::fcntl(file_.get(), F_DUPFD_CLOEXEC, 0));
  if (!copy.valid()) return ErrnoStatus(errno, "ingest \"" + ref() + "\": open for reading");
  return copy;
}

void OpenIngest::SetTotal(uint64_t total_bytes) {
  {
    MutexLock lock(mutex_);
    if (record_.total_bytes == total_bytes) return;
    record_.total_bytes = total_bytes;
  }
  // Lost only if it cannot be written now nor at the end; then a client gives it again.
  (void)store_.Put(*this, record());
}

void OpenIngest::SetExpected(std::string expected) {
  {
    MutexLock lock(mutex_);
    if (record_.expected == expected) return;
    record_.expected = std::move(expected);
  }
  (void)store_.Put(*this, record());
}

Status OpenIngest::Append(std::span<const char> data) {
  TRY_STATUS(CheckLive());
  TRY_STATUS(Hash());
  const uint64_t start = offset();
  const Status written = store_.options().disk.Write(file_.get(), data, start);
  if (!written.ok()) {
    // What got there is right, but no one was told so.
    (void)store_.options().disk.Resize(file_.get(), start);
    return written.Annotate("ingest \"" + ref() + "\"");
  }
  hash_->Update(data.data(), data.size());
  const uint64_t end = start + data.size();
  uint64_t total = 0;
  uint64_t synced = 0;
  {
    MutexLock lock(mutex_);
    offset_bytes_ = end;
    record_.updated = store_.options().clock.WallNow();
    total = record_.total_bytes;
    synced = record_.synced_bytes;
  }
  if (end - synced >= kSyncStepBytes || (total != 0 && end >= total)) return Sync();
  if (end - written_back_bytes_ >= kWritebackStepBytes) {
    StartWriteback(file_.get(), written_back_bytes_, end - written_back_bytes_);
    written_back_bytes_ = end;
  }
  return OkStatus();
}

Status OpenIngest::Sync() {
  const uint64_t end = offset();
  if (end == record().synced_bytes) return OkStatus();
  // The kernel reports a lost page once; a later sync would seem fine.
  if (sync_failed_) return DataLoss("ingest \"" + ref() + "\": an earlier sync of its file failed");
  const Status synced = store_.options().disk.SyncData(file_.get());
  sync_failed_ = !synced.ok();
  TRY_STATUS(synced.Annotate("ingest \"" + ref() + "\""));
  {
    MutexLock lock(mutex_);
    record_.synced_bytes = end;
  }
  return store_.Put(*this, record());
}

// Into a new file: a power loss must not leave the old record with other bytes.
Status OpenIngest::Truncate() {
  TRY_STATUS(CheckLive());
  IngestRecord next = record();
  if (offset() == 0) return OkStatus();
  const uint64_t old_file = next.file;
  Fd file = TRY(store_.MakeFile(&next.file));
  next.synced_bytes = 0;
  next.updated = store_.options().clock.WallNow();
  const Status put = store_.Put(*this, next);
  if (!put.ok()) {
    (void)store_.RemoveFile(next.file);
    return put;
  }
  (void)store_.RemoveFile(old_file);
  file_ = std::move(file);
  hash_.emplace();
  written_back_bytes_ = 0;
  sync_failed_ = false;
  MutexLock lock(mutex_);
  record_ = next;
  offset_bytes_ = 0;
  return OkStatus();
}

Result<BlobInfo> OpenIngest::Commit(uint64_t size_bytes, std::optional<Digest> expected,
                                    const std::map<std::string, std::string>& labels) {
  const Digest actual = TRY(CurrentDigest());
  const uint64_t size = offset();
  if (size_bytes != 0 && size_bytes != size) {
    return FailedPrecondition("ingest \"" + ref() + "\" has " + std::to_string(size) +
                              " bytes, but " + std::to_string(size_bytes) + " were announced");
  }
  if (expected && *expected != actual) {
    return FailedPrecondition("ingest \"" + ref() + "\" has digest " + actual.ToString() +
                              ", but " + expected->ToString() + " was announced");
  }
  BlobStore& blobs = store_.options().blobs;
  if (!blobs.Claim(actual).ok()) {
    TRY_STATUS(Sync());
    auto adopted = blobs.Adopt(store_.PathOf(record().file), actual, size, labels);
    if (adopted.ok()) {
      (void)Finish();
      return adopted;
    }
    if (adopted.status().code() != StatusCode::kAlreadyExists) return adopted;
    TRY_STATUS(blobs.Claim(actual).status());
  }
  TRY_STATUS(Finish());
  return AlreadyExists("blob " + actual.ToString() + " is in the store already");
}

Status OpenIngest::Abandon() {
  TRY_STATUS(CheckLive());
  return Finish();
}

Status OpenIngest::Finish() {
  const Status ended = store_.End(*this, record());
  MarkEnded();
  file_.Reset();  // frees the space
  return ended;
}

}  // namespace hearth::store
