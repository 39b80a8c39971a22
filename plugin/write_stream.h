// WriteStream: one Write call of the content service as a state machine, without gRPC.
//
// It holds one ingest from the first message to Release(). While we fetch the very digest that the
// ingest's ref names, the second STAT (containerd asks it outside of its locks before it downloads)
// waits until that blob is complete and then says so; containerd goes straight to COMMIT.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/digest.h"
#include "base/status.h"
#include "base/thread.h"
#include "store/blob_store.h"
#include "store/ingest_store.h"

namespace hearth::plugin {

struct WriteMessage {
  enum class Action : uint8_t { kStat, kWrite, kCommit };
  Action action = Action::kStat;
  std::string ref{};         // in the first message
  uint64_t total_bytes = 0;  // 0 = not said
  std::string expected{};    // "" = not said
  uint64_t offset_bytes = 0;
  std::vector<std::span<const char>> data{};  // one after the other; live until `done`
  std::map<std::string, std::string> labels{};
};

struct WriteReply {
  store::IngestInfo ingest;  // as it is now; after COMMIT as it ended
  std::string digest;        // of the bytes so far; "" where it would have to be computed first
  bool last = false;         // the stream ends with this reply
};

struct CommittedIngest {
  std::string ref;
  Digest digest;
  uint64_t size_bytes = 0;
};

class WriteStream {
 public:
  struct Options {
    store::IngestStore& ingests;
    store::BlobStore& blobs;
    ThreadPool& quick;  // goes on with a STAT that waited; nothing there waits for the disk
  };
  explicit WriteStream(const Options& options) : options_(options) {}

  using Done = std::function<void(Result<WriteReply>)>;
  // Whether Handle() may wait for data to be synced, or read much of it: not for the threads that
  // answer what containerd asks under its database lock. It asks COMMIT there, too, but one at a
  // time, and with its data on disk. Not beside Handle().
  bool WaitsForDisk(const WriteMessage& message) const;
  // One message at a time, on a worker; `done` runs once: here, or on another thread when the
  // answer had to wait. An error ends the stream: kInvalidArgument (no ref, bad digest),
  // kUnavailable (ref held by another stream), kOutOfRange (offset), kAlreadyExists (the blob is
  // there; the ingest is gone), kFailedPrecondition (size or digest; the ingest stays, without its
  // bytes where they are as many as, and not, those of the blob that the ref names), and what
  // IngestStore says.
  void Handle(const WriteMessage& message, Done done);
  // The client is gone: a waiting STAT answers kCancelled. Any thread, also beside Handle().
  void Cancel();
  // Lets go of the ref, keeps the bytes. Not beside Handle().
  void Release() { ingest_.reset(); }
  // What a COMMIT made. Not beside Handle().
  const std::optional<CommittedIngest>& committed() const { return committed_; }

 private:
  struct Waiter;

  Status Open(const WriteMessage& message);
  Status TakeTotalAndExpected(const WriteMessage& message);
  void WaitForGrowing(Done done);
  Result<WriteReply> Stat(bool cheap);
  Result<WriteReply> Write(const WriteMessage& message);
  Result<WriteReply> Commit(const WriteMessage& message);
  Result<WriteReply> CommitWhole(const WriteMessage& message);
  // All bytes that the ref's blob has came, and are not that blob's.
  void DropIfHopeless();
  Status Append(const WriteMessage& message);
  Status AppendAll(const std::vector<std::span<const char>>& data);

  const Options options_;
  // The message in hand's.
  std::string ref_;
  uint64_t total_bytes_ = 0;  // last one that this stream said
  std::string expected_;
  std::unique_ptr<store::Ingest> ingest_;
  std::shared_ptr<store::Blob> growing_;  // what the next STAT waits for
  std::shared_ptr<store::Blob> whole_;    // what a STAT told to be complete
  std::optional<CommittedIngest> committed_;
  // Between Handle() and Cancel().
  Mutex mutex_;
  std::shared_ptr<Waiter> waiter_ GUARDED_BY(mutex_);
  bool cancelled_ GUARDED_BY(mutex_) = false;
};

// The digest that a ref ends in ("k8s.io/1/layer-sha256:…"), as containerd's own fetches name it.
std::optional<Digest> DigestOfRef(const std::string& ref);

}  // namespace hearth::plugin
