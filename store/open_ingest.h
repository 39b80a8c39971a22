// OpenIngest: an ingest in the hands of its holder.
//
// The holder's one thread calls Ingest's methods; MarkEnded() and Info() may come from any thread.
#pragma once

#include <map>
#include <optional>
#include <string>

#include "base/digest.h"
#include "base/file.h"
#include "base/thread.h"
#include "store/ingest_index.h"
#include "store/ingest_store.h"

namespace hearth::store {

class OpenIngest;

// The running hash of an ingest that nobody holds.
struct KeptHash {
  uint64_t file = 0;
  uint64_t offset_bytes = 0;
  Sha256 hash;
};

// What an open ingest asks of its store, which outlives it.
class IngestOwner {
 public:
  virtual ~IngestOwner() = default;
  virtual const IngestStore::Options& options() const = 0;
  virtual std::filesystem::path PathOf(uint64_t file) const = 0;
  // A new empty file; its number goes to `file`.
  virtual Result<Fd> MakeFile(uint64_t* file) = 0;
  // A file without a record goes.
  virtual Status RemoveFile(uint64_t file) = 0;
  // kNotFound when it was aborted meanwhile.
  virtual Status Put(const OpenIngest& ingest, const IngestRecord& record) = 0;
  // The ref is free again; bytes and record stay.
  virtual void Release(const OpenIngest& ingest, std::optional<KeptHash> hash) = 0;
  // Record and file go, the ref is free.
  virtual Status End(const OpenIngest& ingest, const IngestRecord& record) = 0;
};

class OpenIngest final : public Ingest {
 public:
  // `hash` is of all of the `offset_bytes` in `file`, where it is known.
  OpenIngest(IngestOwner& store, IngestRecord record, Fd file, uint64_t offset_bytes,
             std::optional<Sha256> hash);
  ~OpenIngest() override;

  IngestInfo Info() const override;
  Result<Digest> CurrentDigest() override;
  bool KnowsDigest() const override { return hash_.has_value(); }
  Result<Fd> OpenForReading() const override;
  void SetTotal(uint64_t total_bytes) override;
  void SetExpected(std::string expected) override;
  Status Append(std::span<const char> data) override;
  Status Truncate() override;
  Result<BlobInfo> Commit(uint64_t size_bytes, std::optional<Digest> expected,
                          const std::map<std::string, std::string>& labels) override;
  Status Abandon() override;

  const std::string& ref() const { return ref_; }
  uint64_t file_number() const { return record().file; }
  // Somebody aborted it.
  void MarkEnded();

 private:
  Status CheckLive() const;
  bool ended() const;
  IngestRecord record() const;
  uint64_t offset() const;
  Status Hash();
  Status Sync();
  Status Finish();

  IngestOwner& store_;
  const std::string ref_;
  // Of the holder's thread:
  Fd file_;
  std::optional<Sha256> hash_;  // of all bytes so far; none after a restart
  uint64_t written_back_bytes_ = 0;
  bool sync_failed_ = false;

  mutable Mutex mutex_;
  IngestRecord record_ GUARDED_BY(mutex_);
  uint64_t offset_bytes_ GUARDED_BY(mutex_);
  bool ended_ GUARDED_BY(mutex_) = false;
};

}  // namespace hearth::store
