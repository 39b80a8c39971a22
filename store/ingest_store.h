// IngestStore: bytes that containerd (or another client) writes, by ref, until they are committed.
//
// A ref is any text; files are ingest/<n>. One holder per ref. Survives a restart with offset,
// total, times and running digest. Any thread.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "base/clock.h"
#include "base/digest.h"
#include "base/file.h"
#include "base/status.h"
#include "store/blob_store.h"

namespace hearth::store {

struct IngestInfo {
  std::string ref;
  uint64_t offset_bytes = 0;
  uint64_t total_bytes = 0;  // 0 = unknown
  std::string expected;      // digest text as given, "" = none
  WallTime started;
  WallTime updated;
};

// The exclusive hold of one ref; dropping it releases the ref and keeps the bytes. One thread.
class Ingest {
 public:
  virtual ~Ingest() = default;
  // Without hashing or syncing; cheap.
  virtual IngestInfo Info() const = 0;
  // Sha256 of the bytes so far. May rehash the file once after a restart.
  virtual Result<Digest> CurrentDigest() = 0;
  // Whether CurrentDigest() costs nothing now.
  virtual bool KnowsDigest() const = 0;
  // A descriptor of the file as it is now, for reading what was appended while more arrives. It
  // stays good after Commit(), and shows the old bytes after Truncate().
  virtual Result<Fd> OpenForReading() const = 0;
  virtual void SetTotal(uint64_t total_bytes) = 0;
  virtual void SetExpected(std::string expected) = 0;
  // Appends. Data is synced in the background; the write that reaches the total returns only when
  // all of it is on disk. kResourceExhausted: disk full. kNotFound: aborted meanwhile.
  virtual Status Append(std::span<const char> data) = 0;
  // Back to zero bytes.
  virtual Status Truncate() = 0;
  // Makes a claimed blob of it and ends the ingest. `size_bytes` 0 and no `expected` mean "not
  // said". kFailedPrecondition: size or digest differ, the ingest stays. kAlreadyExists: the store
  // has that digest, the blob is claimed and the ingest ended.
  virtual Result<BlobInfo> Commit(uint64_t size_bytes, std::optional<Digest> expected,
                                  const std::map<std::string, std::string>& labels) = 0;
  // Ends the ingest and drops its bytes.
  virtual Status Abandon() = 0;
};

class IngestStore {
 public:
  struct Options {
    std::filesystem::path root;  // holds ingest/
    kv::Kv& kv;
    BlobStore& blobs;
    const Clock& clock = RealClock();
    Disk& disk = RealDisk();
  };
  // Sweeps files without a record and records without a file.
  static Result<std::unique_ptr<IngestStore>> Open(Options options);
  virtual ~IngestStore() = default;

  // Opens or makes the ingest. A stored total that differs from a given one (not 0) starts it anew.
  // kUnavailable when somebody else still holds the ref at `deadline`.
  virtual Result<std::unique_ptr<Ingest>> Open(const std::string& ref, uint64_t total_bytes,
                                               Deadline deadline) = 0;
  // kNotFound.
  virtual Result<IngestInfo> Info(const std::string& ref) const = 0;
  virtual Status List(const std::function<bool(const IngestInfo&)>& visit) const = 0;
  // OK when there is none. A holder's next call gets kNotFound.
  virtual Status Abort(const std::string& ref) = 0;

  // Checks records and files against each other; `problem` gets a line for each that is alone.
  virtual Status Verify(const std::function<void(const std::string&)>& problem) const = 0;
};

}  // namespace hearth::store
