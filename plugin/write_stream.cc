#include "plugin/write_stream.h"

#include <chrono>
#include <string_view>
#include <utility>

#include "base/log.h"
#include "p2p/traffic.h"

namespace hearth::plugin {

namespace {

// Clients reopen a ref right after they let go of it, and half-closes travel; longer would stall
// containerd, which holds its database lock meanwhile.
constexpr auto kBusyRefWait = std::chrono::milliseconds(50);
constexpr size_t kAppendBytes = 256 << 10;

}  // namespace

// A STAT's callback, for whoever takes it first: the blob or the cancelling client.
struct WriteStream::Waiter {
  Mutex mutex;
  Done done GUARDED_BY(mutex);

  Done Take() {
    MutexLock lock(mutex);
    return std::exchange(done, nullptr);
  }
};

std::optional<Digest> DigestOfRef(const std::string& ref) {
  const size_t dash = ref.rfind("-sha256:");
  if (dash == std::string::npos) return std::nullopt;
  Result<Digest> digest = Digest::Parse(std::string_view(ref).substr(dash + 1));
  if (!digest.ok()) return std::nullopt;
  return *digest;
}

void WriteStream::Handle(const WriteMessage& message, Done done) {
  const bool first = ingest_ == nullptr;
  if (first) {
    if (Status status = Open(message); !status.ok()) return done(std::move(status));
  } else if (!message.ref.empty() && message.ref != ref_) {
    return done(InvalidArgument("this stream writes ref \"" + ref_ + "\", not \"" + message.ref +
                                "\" (open another stream)"));
  }
  if (Status status = TakeTotalAndExpected(message); !status.ok()) return done(std::move(status));
  switch (message.action) {
    case WriteMessage::Action::kStat:
      if (!first && growing_ != nullptr) return WaitForGrowing(std::move(done));
      return done(Stat(/*cheap=*/first));
    case WriteMessage::Action::kWrite:
      return done(Write(message));
    case WriteMessage::Action::kCommit:
      return done(Commit(message));
  }
}

bool WriteStream::WaitsForDisk(const WriteMessage& message) const {
  switch (message.action) {
    case WriteMessage::Action::kWrite:
      return true;
    case WriteMessage::Action::kStat:
      // The digest of what an earlier process wrote is made of all its bytes.
      return ingest_ != nullptr && growing_ == nullptr && whole_ == nullptr &&
             !ingest_->KnowsDigest();
    case WriteMessage::Action::kCommit:
      return false;
  }
  return true;
}

Status WriteStream::Open(const WriteMessage& message) {
  if (message.ref.empty()) return InvalidArgument("the first message must carry a ref");
  ref_ = message.ref;
  // Asked before the ingest is opened: what completes in between is then still seen as growing.
  if (std::optional<Digest> digest = DigestOfRef(ref_)) {
    growing_ = options_.blobs.FindGrowing(*digest);
    if (growing_ != nullptr && message.total_bytes != 0 &&
        message.total_bytes != growing_->size_bytes()) {
      growing_.reset();
    }
  }
  ingest_ = TRY(options_.ingests.Open(ref_, message.total_bytes, Deadline::After(kBusyRefWait)));
  LOG_DEBUG("content write", {{"ref", ref_},
                              {"total_bytes", message.total_bytes},
                              {"offset_bytes", ingest_->Info().offset_bytes},
                              {"is_being_fetched", growing_ != nullptr}});
  return OkStatus();
}

Status WriteStream::TakeTotalAndExpected(const WriteMessage& message) {
  const bool commit = message.action == WriteMessage::Action::kCommit;
  if (message.total_bytes > 0 && message.total_bytes != total_bytes_) {
    total_bytes_ = message.total_bytes;
    // A wrong total in a COMMIT fails it, and must not mark the ingest that stays.
    if (!commit) ingest_->SetTotal(total_bytes_);
  }
  if (message.expected.empty()) return OkStatus();
  const Digest digest = TRY(Digest::Parse(message.expected));
  if (message.expected != expected_) {
    expected_ = message.expected;
    if (!commit) ingest_->SetExpected(expected_);
  }
  // COMMIT is judged by the bytes that came.
  if (commit || !options_.blobs.Claim(digest).ok()) return OkStatus();
  TRY_STATUS(ingest_->Abandon());
  LOG_DEBUG("content write ends: the blob is here", {{"ref", ref_}, {"digest", expected_}});
  Release();
  return AlreadyExists("blob " + expected_ + " is there already");
}

void WriteStream::WaitForGrowing(Done done) {
  const std::shared_ptr<store::Blob> blob = std::exchange(growing_, nullptr);
  auto waiter = std::make_shared<Waiter>();
  bool cancelled = false;
  {
    MutexLock lock(mutex_);
    cancelled = cancelled_;
    if (!cancelled) {
      MutexLock waiter_lock(waiter->mutex);
      waiter->done = std::move(done);
      waiter_ = waiter;
    }
  }
  if (cancelled) return done(Cancelled("the client went away"));
  blob->WhenAvailable(blob->size_bytes(), [this, waiter, blob] {
    Done ready = waiter->Take();
    if (ready == nullptr) return;
    auto go_on = [this, blob, ready] {
      if (blob->state() == store::Blob::State::kComplete) whole_ = blob;
      ready(Stat(/*cheap=*/!ingest_->KnowsDigest()));
    };
    // Nobody else answers now, so `this` lives until `ready` ran.
    if (Status status = options_.quick.Submit(go_on); !status.ok()) ready(std::move(status));
  });
}

void WriteStream::Cancel() {
  std::shared_ptr<Waiter> waiter;
  {
    MutexLock lock(mutex_);
    cancelled_ = true;
    waiter = std::exchange(waiter_, nullptr);
  }
  if (waiter == nullptr) return;
  if (Done done = waiter->Take()) done(Cancelled("the client went away"));
}

Result<WriteReply> WriteStream::Stat(bool cheap) {
  WriteReply reply;
  reply.ingest = ingest_->Info();
  if (total_bytes_ != 0) reply.ingest.total_bytes = total_bytes_;
  if (whole_ != nullptr) {
    reply.ingest.offset_bytes = whole_->size_bytes();
    reply.digest = whole_->digest().ToString();
  } else if (!cheap || reply.ingest.offset_bytes == 0) {
    reply.digest = TRY(ingest_->CurrentDigest()).ToString();
  }
  return reply;
}

Status WriteStream::Append(const WriteMessage& message) {
  growing_.reset();
  whole_.reset();
  const uint64_t end = ingest_->Info().offset_bytes;
  if (message.offset_bytes != 0 && message.offset_bytes != end) {
    return OutOfRange("ref \"" + ref_ + "\": write at " + std::to_string(message.offset_bytes) +
                      ", the next byte is " + std::to_string(end));
  }
  if (message.offset_bytes == 0 && end > 0) TRY_STATUS(ingest_->Truncate());
  return AppendAll(message.data);
}

// gRPC hands out many small pieces: the store gets fewer, larger ones.
Status WriteStream::AppendAll(const std::vector<std::span<const char>>& data) {
  std::string buffer;
  for (const std::span<const char> piece : data) {
    p2p::CountReceived(p2p::ByteOrigin::kContainerd, piece.size());
    if (!buffer.empty() && buffer.size() + piece.size() > kAppendBytes) {
      TRY_STATUS(ingest_->Append(buffer));
      buffer.clear();
    }
    if (piece.size() >= kAppendBytes) {
      TRY_STATUS(ingest_->Append(piece));
    } else {
      if (buffer.capacity() < kAppendBytes && data.size() > 1) buffer.reserve(kAppendBytes);
      buffer.append(piece.data(), piece.size());
    }
  }
  if (buffer.empty()) return OkStatus();
  return ingest_->Append(buffer);
}

Result<WriteReply> WriteStream::Write(const WriteMessage& message) {
  TRY_STATUS(Append(message));
  return Stat(/*cheap=*/false);
}

Result<WriteReply> WriteStream::Commit(const WriteMessage& message) {
  if (whole_ != nullptr && message.data.empty()) return CommitWhole(message);
  TRY_STATUS(Append(message));
  std::optional<Digest> expected;
  if (!expected_.empty()) expected = TRY(Digest::Parse(expected_));
  WriteReply reply;
  reply.ingest = ingest_->Info();
  const Result<store::BlobInfo> committed = ingest_->Commit(total_bytes_, expected, message.labels);
  if (!committed.ok()) {
    if (committed.status().code() == StatusCode::kFailedPrecondition) DropIfHopeless();
    return committed.status();
  }
  const store::BlobInfo& blob = *committed;
  Release();
  reply.ingest.offset_bytes = blob.size_bytes;
  reply.digest = blob.digest.ToString();
  reply.last = true;
  committed_ = {ref_, blob.digest, blob.size_bytes};
  return reply;
}

// Clients up to 1.7 only commit an ingest again that has all its bytes, whatever came of it before:
// wrong bytes would make every later pull fail.
void WriteStream::DropIfHopeless() {
  const std::optional<Digest> named = DigestOfRef(ref_);
  if (!named || total_bytes_ == 0 || ingest_->Info().offset_bytes != total_bytes_) return;
  const Result<Digest> digest = ingest_->CurrentDigest();
  if (!digest.ok() || *digest == *named) return;
  if (const Status status = ingest_->Truncate(); !status.ok()) {
    LOG_WARNING("could not drop wrong bytes", {{"ref", ref_}, {"error", status}});
    return;
  }
  LOG_WARNING("dropped wrong bytes", {{"ref", ref_}, {"digest", digest->ToString()}});
}

// The client was told that the blob is here; its offset says how far the ingest itself had come.
Result<WriteReply> WriteStream::CommitWhole(const WriteMessage& message) {
  const Digest digest = whole_->digest();
  const uint64_t size_bytes = whole_->size_bytes();
  if (total_bytes_ != 0 && total_bytes_ != size_bytes) {
    return FailedPrecondition("blob " + digest.ToString() + " has " + std::to_string(size_bytes) +
                              " bytes, not " + std::to_string(total_bytes_));
  }
  if (!expected_.empty() && expected_ != digest.ToString()) {
    return FailedPrecondition("ref \"" + ref_ + "\" holds " + digest.ToString() + ", not " +
                              expected_);
  }
  WriteReply reply = TRY(Stat(/*cheap=*/true));
  Result<store::BlobInfo> claimed = options_.blobs.Claim(digest);
  if (!claimed.ok()) {
    return Unavailable("blob " + digest.ToString() +
                       " was here and is gone: " + claimed.status().message() + " (pull again)");
  }
  if (!message.labels.empty()) {
    TRY_STATUS(options_.blobs.UpdateLabels(digest, message.labels, /*replace=*/false));
  }
  // The blob is containerd's now; a record that stays behind is only an abandoned ingest.
  if (Status status = ingest_->Abandon(); !status.ok()) {
    LOG_WARNING("could not drop an ingest", {{"ref", ref_}, {"error", status}});
  }
  Release();
  reply.last = true;
  committed_ = {ref_, digest, size_bytes};
  return reply;
}

}  // namespace hearth::plugin
