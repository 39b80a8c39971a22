#include "store/growing_blob.h"

#include <algorithm>
#include <utility>

#include "base/log.h"

namespace hearth::store {

namespace {

constexpr size_t kHashReadBytes = 256 * 1024;
// The task that hashes goes back to the end of the pool's queue after so much.
constexpr uint64_t kBytesPerTask = 8ull << 20;
// It is not started for less, except at the end.
constexpr uint64_t kWorthATaskBytes = 1ull << 20;
// Pieces enter the record once so much came and so long passed since the last time: what a crash
// may lose of a download. A sync makes all wait that change the file system, unpacking too.
constexpr uint64_t kSyncStepBytes = 16ull << 20;
constexpr std::chrono::seconds kSyncInterval{2};

}  // namespace

GrowingBlob::GrowingBlob(Options options)
    : digest_(options.digest),
      size_bytes_(options.pieces.size_bytes()),
      piece_size_bytes_(options.pieces.piece_size_bytes()),
      owner_(options.owner),
      disk_(options.disk),
      verify_(options.verify),
      clock_(options.clock),
      pieces_(std::move(options.pieces)),
      file_(std::make_shared<const Fd>(std::move(options.file))),
      synced_at_(clock_.SteadyNow()) {}

// --- readers ---

Blob::State GrowingBlob::state() const {
  MutexLock lock(mutex_);
  return state_;
}

Status GrowingBlob::failure() const {
  MutexLock lock(mutex_);
  return failure_;
}

std::shared_ptr<const Fd> GrowingBlob::file() const {
  MutexLock lock(mutex_);
  return file_;
}

uint64_t GrowingBlob::Available(uint64_t offset_bytes) const {
  MutexLock lock(mutex_);
  if (state_ == State::kComplete) return size_bytes_ - std::min(offset_bytes, size_bytes_);
  return pieces_.Available(offset_bytes, size_bytes_);
}

uint64_t GrowingBlob::PresentBytes() const {
  MutexLock lock(mutex_);
  return state_ == State::kComplete ? size_bytes_ : pieces_.PresentBytes();
}

std::optional<uint64_t> GrowingBlob::WantedOffset() const {
  MutexLock lock(mutex_);
  uint64_t wanted = size_bytes_;
  if (!waiters_.empty()) wanted = waiters_.begin()->first;
  if (!blocked_.empty()) wanted = std::min(wanted, *blocked_.begin());
  if (state_ != State::kGrowing || wanted >= size_bytes_) return std::nullopt;
  return wanted;
}

bool GrowingBlob::Reached(uint64_t offset_bytes) const {
  return state_ != State::kGrowing || pieces_.Available(offset_bytes, 1) > 0;
}

Status GrowingBlob::WaitUntil(uint64_t offset_bytes, std::stop_token stop, Deadline deadline) {
  const std::stop_callback on_stop(stop, [this] {
    MutexLock lock(mutex_);
    changed_.NotifyAll();
  });
  MutexLock lock(mutex_);
  const auto blocked = blocked_.insert(offset_bytes);
  const Status status = WaitLocked(offset_bytes, stop, deadline);
  blocked_.erase(blocked);
  return status;
}

Status GrowingBlob::WaitLocked(uint64_t offset_bytes, const std::stop_token& stop,
                               Deadline deadline) {
  while (!Reached(offset_bytes)) {
    if (stop.stop_requested()) return Cancelled("the wait for blob " + digest_.ToString());
    if (deadline.IsNever()) {
      changed_.Wait(mutex_);
    } else if (!changed_.WaitUntil(mutex_, deadline.at()) && !Reached(offset_bytes)) {
      return DeadlineExceeded("byte " + std::to_string(offset_bytes) + " of blob " +
                              digest_.ToString() + " did not arrive in time");
    }
  }
  return state_ == State::kFailed ? failure_ : OkStatus();
}

Result<size_t> GrowingBlob::Read(uint64_t offset_bytes, std::span<char> out, std::stop_token stop,
                                 Deadline deadline) {
  if (offset_bytes >= size_bytes_ || out.empty()) return size_t{0};
  TRY_STATUS(WaitUntil(offset_bytes, std::move(stop), deadline));
  std::shared_ptr<const Fd> file;
  uint64_t wanted = 0;
  {
    MutexLock lock(mutex_);
    file = file_;
    wanted = state_ == State::kComplete ? size_bytes_ - offset_bytes
                                        : pieces_.Available(offset_bytes, out.size());
  }
  return ReadAt(file->get(), out.first(std::min<uint64_t>(out.size(), wanted)), offset_bytes);
}

Status GrowingBlob::WaitComplete(std::stop_token stop, Deadline deadline) {
  return WaitUntil(size_bytes_, std::move(stop), deadline);
}

void GrowingBlob::WhenAvailable(uint64_t offset_bytes, std::function<void()> wake) {
  {
    MutexLock lock(mutex_);
    if (!Reached(offset_bytes)) {
      waiters_.emplace(std::min(offset_bytes, size_bytes_), std::move(wake));
      return;
    }
  }
  wake();
}

// --- the writer ---

uint64_t GrowingBlob::FirstMissing() const {
  MutexLock lock(mutex_);
  return state_ == State::kComplete ? size_bytes_ : pieces_.FirstMissing();
}

Status GrowingBlob::Write(uint64_t offset_bytes, std::span<const char> data) {
  if (offset_bytes > size_bytes_ || data.size() > size_bytes_ - offset_bytes) {
    return OutOfRange("blob " + digest_.ToString() + " has " + std::to_string(size_bytes_) +
                      " bytes; " + std::to_string(data.size()) + " at " +
                      std::to_string(offset_bytes) + " reach beyond its end");
  }
  while (!data.empty()) {
    const Pieces::Range range = TRY(TakeRange(offset_bytes, data.size()));
    data = data.subspan(range.skip);
    offset_bytes += range.skip;
    if (range.length == 0) continue;
    TRY_STATUS(WriteRange(offset_bytes, data.first(range.length)));
    data = data.subspan(range.length);
    offset_bytes += range.length;
  }
  MaybeTend();
  return OkStatus();
}

Result<Pieces::Range> GrowingBlob::TakeRange(uint64_t offset_bytes, uint64_t size_bytes) {
  MutexLock lock(mutex_);
  while (true) {
    if (state_ == State::kFailed) return failure_;
    if (state_ == State::kComplete || committing_) return Pieces::Range{.skip = size_bytes};
    const Pieces::Range range =
        TRY(pieces_.Begin(offset_bytes, size_bytes).Annotate("blob " + digest_.ToString()));
    if (!range.busy) {
      if (range.length > 0) ++writes_under_way_;
      return range;
    }
    changed_.Wait(mutex_);
  }
}

// The range is ours, so the bytes go in without a lock.
Status GrowingBlob::WriteRange(uint64_t offset_bytes, std::span<const char> data) {
  const std::shared_ptr<const Fd> file = this->file();
  const Status written = disk_.Write(file->get(), data, offset_bytes);
  const uint64_t length = written.ok() ? data.size() : 0;
  Wakes wakes;
  {
    MutexLock lock(mutex_);
    --writes_under_way_;
    pieces_.End(offset_bytes, length);
    unsynced_bytes_ += length;
    if (length > 0) {
      const auto first = waiters_.lower_bound(offset_bytes);
      const auto last = waiters_.lower_bound(offset_bytes + length);
      for (auto it = first; it != last; ++it) wakes.push_back(std::move(it->second));
      waiters_.erase(first, last);
    }
    changed_.NotifyAll();
  }
  for (const auto& wake : wakes) wake();
  return written.Annotate("write " + std::to_string(data.size()) + " bytes of blob " +
                          digest_.ToString());
}

void GrowingBlob::Fail(Status why) {
  {
    MutexLock lock(mutex_);
    if (state_ != State::kGrowing || committing_) return;
  }
  if (why.ok()) why = Internal("the writer gave up without a reason");
  Finish(State::kFailed, std::move(why), nullptr);
  owner_.ReleaseFailed(*this);
}

// --- the store ---

bool GrowingBlob::BeginCommit() {
  MutexLock lock(mutex_);
  if (state_ != State::kGrowing) return false;
  committing_ = true;
  return true;
}

void GrowingBlob::Complete(std::shared_ptr<const Fd> file) {
  Finish(State::kComplete, OkStatus(), std::move(file));
}

void GrowingBlob::Abandon(Status why) { Finish(State::kFailed, std::move(why), nullptr); }

void GrowingBlob::Finish(State state, Status failure, std::shared_ptr<const Fd> file) {
  Wakes wakes;
  {
    MutexLock lock(mutex_);
    if (state_ != State::kGrowing) return;
    state_ = state;
    failure_ = std::move(failure);
    if (file != nullptr) file_ = std::move(file);
    for (auto& [offset, wake] : waiters_) wakes.push_back(std::move(wake));
    waiters_.clear();
    for (auto& wake : paused_writers_) wakes.push_back(std::move(wake));
    paused_writers_.clear();
    changed_.NotifyAll();
  }
  for (const auto& wake : wakes) wake();
}

Result<PieceBitmap> GrowingBlob::SyncPieces() {
  std::shared_ptr<const Fd> file;
  PieceBitmap bitmap;
  {
    MutexLock lock(mutex_);
    while (writes_under_way_ > 0) changed_.Wait(mutex_);
    if (sync_failed_) return DataLoss("an earlier sync of the file failed");
    file = file_;
    bitmap = pieces_.bitmap();
  }
  const Status synced = disk_.SyncData(file->get());
  if (!synced.ok()) {
    // The kernel reports a lost page once; a second sync would seem fine.
    MutexLock lock(mutex_);
    sync_failed_ = true;
    return synced;
  }
  return bitmap;
}

// --- hashing, behind the writer ---

void GrowingBlob::Start() { MaybeTend(); }

void GrowingBlob::MaybeTend() {
  {
    MutexLock lock(mutex_);
    if (state_ != State::kGrowing || tending_ || committing_) return;
    const uint64_t behind = pieces_.FirstMissing() - hashed_bytes_;
    if (!pieces_.All() && behind < kWorthATaskBytes && !SyncIsDue()) return;
    tending_ = true;
  }
  if (verify_.Submit([self = shared_from_this()] { self->Tend(); }).ok()) return;
  // The writer may be a loop that all transfers share: it never hashes, but pauses until the spare
  // thread has come here.
  {
    MutexLock lock(mutex_);
    pool_full_ = true;
  }
  verify_.SubmitSpare([self = shared_from_this()] {
    self->ResumeWriters();
    self->Tend();
  });
}

bool GrowingBlob::SyncIsDue() const {
  return unsynced_bytes_ >= kSyncStepBytes && clock_.SteadyNow() - synced_at_ >= kSyncInterval;
}

void GrowingBlob::ResumeWriters() {
  Wakes wakes;
  {
    MutexLock lock(mutex_);
    pool_full_ = false;
    wakes.swap(paused_writers_);
  }
  for (const auto& wake : wakes) wake();
}

bool GrowingBlob::MayWrite(std::function<void()> resume) {
  MutexLock lock(mutex_);
  if (!pool_full_ || state_ != State::kGrowing) return true;
  paused_writers_.push_back(std::move(resume));
  return false;
}

void GrowingBlob::Tend() {
  uint64_t until = 0;
  bool sync = false;
  bool last = false;
  {
    MutexLock lock(mutex_);
    until = std::min(pieces_.FirstMissing(), hashed_bytes_ + kBytesPerTask);
    last = until == size_bytes_;
    sync = !last && SyncIsDue();
  }
  Status status = HashSome(until);
  if (status.ok() && sync) status = SyncAndKeep();
  if (!status.ok()) {
    Fail(status);
  } else if (last) {
    Verify();
  }
  {
    MutexLock lock(mutex_);
    tending_ = false;
  }
  MaybeTend();
}

Status GrowingBlob::HashSome(uint64_t until_bytes) {
  std::shared_ptr<const Fd> file;
  uint64_t at = 0;
  {
    MutexLock lock(mutex_);
    file = file_;
    at = hashed_bytes_;
  }
  const uint64_t start = at;
  // The thread's own for good: a new one each time costs more in page faults than the reads.
  thread_local const auto buffer = std::make_unique_for_overwrite<char[]>(kHashReadBytes);
  while (at < until_bytes) {
    const auto step = std::span(buffer.get(), std::min<uint64_t>(kHashReadBytes, until_bytes - at));
    const size_t got = TRY(ReadAt(file->get(), step, at).Annotate("blob " + digest_.ToString()));
    if (got != step.size()) {
      return DataLoss("blob " + digest_.ToString() + ": its file is shorter than what was written");
    }
    hash_.Update(step.data(), got);
    at += got;
  }
  StartWriteback(file->get(), start, at - start);
  MutexLock lock(mutex_);
  hashed_bytes_ = at;
  return OkStatus();
}

Status GrowingBlob::SyncAndKeep() {
  std::shared_ptr<const Fd> file;
  PieceBitmap bitmap;
  {
    MutexLock lock(mutex_);
    file = file_;
    bitmap = pieces_.bitmap();
    unsynced_bytes_ = 0;
  }
  const Status synced = disk_.SyncData(file->get());
  {
    MutexLock lock(mutex_);
    if (!synced.ok()) sync_failed_ = true;
    synced_at_ = clock_.SteadyNow();
  }
  TRY_STATUS(synced.Annotate("blob " + digest_.ToString()));
  const Status kept = owner_.KeepPieces(*this, bitmap);
  if (!kept.ok()) {
    LOG_WARNING("pieces not recorded; after a crash they are fetched again",
                {{"digest", digest_.ToString()}, {"error", kept}});
  }
  return OkStatus();
}

void GrowingBlob::Verify() {
  const Digest actual = hash_.Current();
  if (actual != digest_) {
    owner_.DropWrong(*this,
                     DataLoss("the " + std::to_string(size_bytes_) + " bytes received for blob " +
                              digest_.ToString() + " have digest " + actual.ToString() +
                              "; they were dropped, fetch them from another source"));
    return;
  }
  Status status = SyncPieces().status();
  if (status.ok()) status = owner_.CommitGrown(*this);
  if (status.ok()) return;
  {
    MutexLock lock(mutex_);
    committing_ = false;
  }
  Fail(status.Annotate("blob " + digest_.ToString()));
}

}  // namespace hearth::store
