// GrowingBlob: a blob whose bytes arrive. Hashes them in order behind the writer, never on its
// thread; a writer that can pause does so while there is no thread for it.
//
// Any thread. Its store calls the methods below Blob's; lock order: the store's lock of a digest,
// then this blob's.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <set>
#include <vector>

#include "base/clock.h"
#include "base/digest.h"
#include "base/thread.h"
#include "store/blob.h"
#include "store/disk.h"
#include "store/pieces.h"
#include "store/verify_queue.h"

namespace hearth::store {

class GrowingBlob;

// What a growing blob asks of its store. Called without the blob's lock.
class GrowingBlobOwner {
 public:
  virtual ~GrowingBlobOwner() = default;
  // `pieces` are synced to the file now.
  virtual Status KeepPieces(GrowingBlob& blob, const PieceBitmap& pieces) = 0;
  // The digest is right and all data synced: makes the record, then calls Complete().
  virtual Status CommitGrown(GrowingBlob& blob) = 0;
  // The digest is wrong: drops file and pieces, then calls Abandon().
  virtual void DropWrong(GrowingBlob& blob, Status why) = 0;
  // It failed; keeps its pieces and lets go of it.
  virtual void ReleaseFailed(GrowingBlob& blob) = 0;
};

class GrowingBlob final : public Blob, public std::enable_shared_from_this<GrowingBlob> {
 public:
  struct Options {
    Digest digest;
    Pieces pieces;
    Fd file;  // read and write, of full size
    GrowingBlobOwner& owner;
    Disk& disk;
    VerifyQueue& verify;  // joined before this goes
    const Clock& clock;
  };
  explicit GrowingBlob(Options options);

  const Digest& digest() const override { return digest_; }
  uint64_t size_bytes() const override { return size_bytes_; }
  State state() const override;
  Status failure() const override;
  std::shared_ptr<const Fd> file() const override;
  uint64_t Available(uint64_t offset_bytes) const override;
  uint64_t PresentBytes() const override;
  std::optional<uint64_t> WantedOffset() const override;
  Result<size_t> Read(uint64_t offset_bytes, std::span<char> out, std::stop_token stop,
                      Deadline deadline) override;
  Status WaitComplete(std::stop_token stop, Deadline deadline) override;
  void WhenAvailable(uint64_t offset_bytes, std::function<void()> wake) override;
  uint64_t FirstMissing() const override;
  Status Write(uint64_t offset_bytes, std::span<const char> data) override;
  bool MayWrite(std::function<void()> resume) override;
  void Fail(Status why) override;

  // --- for its store ---
  // Begins to hash what came from an earlier run; verifies at once where nothing is missing.
  void Start();
  uint64_t piece_size_bytes() const { return piece_size_bytes_; }
  // From now on Fail() does nothing until Complete() or Abandon(). False when it failed before.
  bool BeginCommit();
  // `file` where another file took its place, else null.
  void Complete(std::shared_ptr<const Fd> file);
  // Fails it without keeping pieces.
  void Abandon(Status why);
  // After a failure: waits for writes under way, syncs, and says which pieces are on disk.
  Result<PieceBitmap> SyncPieces();

 private:
  using Wakes = std::vector<std::function<void()>>;

  Status WriteRange(uint64_t offset_bytes, std::span<const char> data);
  // How many bytes of the first piece of `data` are done with. Takes the range when `length` > 0.
  Result<Pieces::Range> TakeRange(uint64_t offset_bytes, uint64_t size_bytes);
  Status WaitUntil(uint64_t offset_bytes, std::stop_token stop, Deadline deadline);
  Status WaitLocked(uint64_t offset_bytes, const std::stop_token& stop, Deadline deadline)
      REQUIRES(mutex_);
  bool Reached(uint64_t offset_bytes) const REQUIRES(mutex_);
  void Finish(State state, Status failure, std::shared_ptr<const Fd> file);
  void MaybeTend();
  bool SyncIsDue() const REQUIRES(mutex_);
  void ResumeWriters();
  void Tend();
  Status HashSome(uint64_t until_bytes);
  Status SyncAndKeep();
  void Verify();

  const Digest digest_;
  const uint64_t size_bytes_;
  const uint64_t piece_size_bytes_;
  GrowingBlobOwner& owner_;
  Disk& disk_;
  VerifyQueue& verify_;
  const Clock& clock_;

  mutable Mutex mutex_;
  CondVar changed_;
  Pieces pieces_ GUARDED_BY(mutex_);
  State state_ GUARDED_BY(mutex_) = State::kGrowing;
  Status failure_ GUARDED_BY(mutex_);
  bool committing_ GUARDED_BY(mutex_) = false;
  bool tending_ GUARDED_BY(mutex_) = false;
  bool pool_full_ GUARDED_BY(mutex_) = false;  // the task that tends it waits for the spare thread
  Wakes paused_writers_ GUARDED_BY(mutex_);
  bool sync_failed_ GUARDED_BY(mutex_) = false;
  int writes_under_way_ GUARDED_BY(mutex_) = 0;
  uint64_t unsynced_bytes_ GUARDED_BY(mutex_) = 0;
  uint64_t hashed_bytes_ GUARDED_BY(mutex_) = 0;
  std::shared_ptr<const Fd> file_ GUARDED_BY(mutex_);
  SteadyTime synced_at_ GUARDED_BY(mutex_);                                    // or made
  std::multimap<uint64_t, std::function<void()>> waiters_ GUARDED_BY(mutex_);  // by offset
  std::multiset<uint64_t> blocked_ GUARDED_BY(mutex_);  // offsets that threads wait for

  Sha256 hash_;  // of the one task that tends it
};

}  // namespace hearth::store
