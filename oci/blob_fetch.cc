// Registry::FetchBlob: one blob into a sink, over as many HTTP transfers as it takes.
#include <algorithm>
#include <memory>
#include <utility>

#include "base/thread.h"
#include "oci/registry.h"
#include "oci/registry_call.h"

namespace hearth::oci {

namespace {

constexpr size_t kMaxErrorBodyBytes = 4096;
// libcurl gives 16 KiB at a time, and each call of a sink costs a write, locks and a wake-up.
constexpr size_t kGatheredBytes = 256 * 1024;

std::string Bytes(uint64_t count) { return std::to_string(count) + " bytes"; }

// How far the whole fetch is; used by one transfer at a time.
struct Progress {
  BlobSink& sink;
  uint64_t position;                   // next byte that the sink gets
  std::optional<uint64_t> size_bytes;  // of the whole blob, once known
  std::optional<uint64_t> end_bytes;   // of what is wanted, where that is not the whole rest
  bool started = false;
  bool final = false;  // no other source can help: the sink failed, or holds all that it may

  std::optional<uint64_t> end() const { return end_bytes ? end_bytes : size_bytes; }
};

// One transfer. Its callbacks run on the loop thread; the fetching thread waits in Wait().
class BlobTransfer final : public net::HttpTransferHandler,
                           public std::enable_shared_from_this<BlobTransfer> {
 public:
  explicit BlobTransfer(Progress& progress) : progress_(progress) {}

  Status OnHead(const net::HttpResponseHead& head) override {
    answer_.status = head.status;
    answer_.headers = head.headers;
    answer_.effective_url = head.effective_url;
    if (head.status == 200 && progress_.end_bytes) {
      return Final(Unimplemented("it answers a range with the whole blob"));
    }
    if (head.status == 200) {
      skip_ = progress_.position;
      const auto total = net::ContentLength(head.headers);
      TRY_STATUS(CheckCoding(head.headers, total));
      return Begin(total);
    }
    if (head.status != 206) return OkStatus();
    const auto range = net::ContentRange::Parse(head.headers.Get("Content-Range"));
    if (!range || range->begin_bytes > progress_.position) {
      return Unavailable("HTTP 206 with the Content-Range \"" +
                         std::string(head.headers.Get("Content-Range").substr(0, 100)) +
                         "\", asked for bytes from " + std::to_string(progress_.position));
    }
    TRY_STATUS(CheckCoding(head.headers, range->total_bytes));
    skip_ = progress_.position - range->begin_bytes;
    return Begin(range->total_bytes);
  }

  Result<Flow> OnData(std::string_view data) override {
    last_byte_ = std::chrono::steady_clock::now();
    if (answer_.status != 200 && answer_.status != 206) {
      answer_.body += data.substr(0, kMaxErrorBodyBytes - answer_.body.size());
      if (answer_.body.size() < kMaxErrorBodyBytes) return Flow::kGoOn;
      refusal_cut_ = true;  // it may have no end
      return Unavailable("the rest is not wanted");
    }
    if (gathered_.size() + data.size() > kGatheredBytes) TRY_STATUS(HandOn());
    if (gathered_.empty() && !Ready()) return Flow::kPause;
    const uint64_t skipped = std::min<uint64_t>(skip_, data.size());
    skip_ -= skipped;
    data.remove_prefix(skipped);
    if (data.empty()) return Flow::kGoOn;
    if (progress_.end() && data.size() > *progress_.end() - progress_.position - gathered_.size()) {
      TRY_STATUS(HandOn());
      return Final(DataLoss("the body goes on after byte " + std::to_string(*progress_.end())));
    }
    Gather(data);
    return Flow::kGoOn;
  }

  Status OnDrained() override { return HandOn(); }

  void OnDone(const Status& status) override {
    const Status handed_on = HandOn();
    MutexLock lock(mutex_);
    status_ = handed_on.ok() ? status : handed_on;
    done_ = true;
    // Under the lock: the waiting thread must not be gone before this call ends.
    changed_.NotifyAll();
  }

  // What Resume() acts on.
  void Attach(std::shared_ptr<net::HttpTransfer> handle) {
    {
      MutexLock lock(mutex_);
      handle_ = handle;
      if (!std::exchange(resume_early_, false)) return;
    }
    handle->Resume();
  }

  Status Wait() {
    MutexLock lock(mutex_);
    while (!done_) changed_.Wait(mutex_);
    return status_;
  }

  const net::HttpResponse& answer() const { return answer_; }
  // The body of an answer without the blob was longer than anybody reads.
  bool refusal_cut() const { return refusal_cut_; }
  // Whether the blob's bytes had begun to come, and then none came for about `limit`.
  bool FellSilent(std::chrono::milliseconds limit) const {
    return last_byte_ && (answer_.status == 200 || answer_.status == 206) &&
           std::chrono::steady_clock::now() - *last_byte_ >= limit / 2;
  }

 private:
  // Asked when nothing is gathered: what was taken is handed on whatever the sink says by then.
  bool Ready() {
    return progress_.sink.Ready([self = shared_from_this()] { self->Resume(); });
  }

  void Gather(std::string_view data) {
    if (gathered_.capacity() < kGatheredBytes && progress_.end()) {
      gathered_.reserve(std::min<uint64_t>(kGatheredBytes, *progress_.end() - progress_.position));
    }
    gathered_ += data;
  }

  Status HandOn() {
    if (gathered_.empty()) return OkStatus();
    Status taken = progress_.sink.OnData(gathered_);
    if (taken.ok()) progress_.position += gathered_.size();
    gathered_.clear();
    return taken.ok() ? taken : Final(std::move(taken));
  }

  void Resume() {
    std::shared_ptr<net::HttpTransfer> handle;
    {
      MutexLock lock(mutex_);
      handle = handle_;
      resume_early_ = handle == nullptr;
    }
    if (handle) handle->Resume();
  }

  // Storage that calls a compressed layer gzip-encoded sends its very bytes, and so its length; of
  // anything else, encoded under way although nobody asked, the digest would be wrong.
  Status CheckCoding(const net::HttpHeaders& headers, std::optional<uint64_t> total) const {
    const std::string_view coding = headers.Get("Content-Encoding");
    if (coding.empty() || coding == "identity") return OkStatus();
    if (total && total == progress_.size_bytes) return OkStatus();
    return DataLoss("the bytes came with the Content-Encoding \"" +
                    std::string(coding.substr(0, 100)) + "\", which was not asked for");
  }

  Status Final(Status status) {
    progress_.final = true;
    return status;
  }

  Status Begin(std::optional<uint64_t> total) {
    if (total && progress_.size_bytes && *total != *progress_.size_bytes) {
      return DataLoss("the registry has " + Bytes(*total) + ", expected " +
                      Bytes(*progress_.size_bytes));
    }
    if (total) progress_.size_bytes = total;
    if (progress_.size_bytes && *progress_.size_bytes < progress_.position) {
      return OutOfRange("byte " + std::to_string(progress_.position) +
                        " was asked for, the blob has " + Bytes(*progress_.size_bytes));
    }
    if (progress_.started) return OkStatus();
    progress_.started = true;
    if (Status status = progress_.sink.OnStart(progress_.size_bytes); !status.ok()) {
      return Final(std::move(status));
    }
    return OkStatus();
  }

  Progress& progress_;
  uint64_t skip_ = 0;     // bytes before the position that this answer repeats
  std::string gathered_;  // bytes from the position on that the sink gets at once
  net::HttpResponse answer_;
  bool refusal_cut_ = false;
  std::optional<SteadyTime> last_byte_;
  Mutex mutex_;
  CondVar changed_;
  std::shared_ptr<net::HttpTransfer> handle_ GUARDED_BY(mutex_);
  bool resume_early_ GUARDED_BY(mutex_) = false;  // before the handle was there
  bool done_ GUARDED_BY(mutex_) = false;
  Status status_ GUARDED_BY(mutex_);
};

Outcome Judge(const RegistryCall& call, const Route& route, const Progress& progress,
              const BlobTransfer& transfer, Status status) {
  Outcome outcome;
  const int http_status = transfer.answer().status;
  if ((status.ok() || transfer.refusal_cut()) && http_status != 200 && http_status != 206) {
    return call.Failure(route, transfer.answer());
  }
  if (status.ok() && progress.end() && progress.position < *progress.end()) {
    status = Unavailable("the body ended after " + Bytes(progress.position) + " of " +
                         Bytes(*progress.end()));
  }
  outcome.status = std::move(status);
  outcome.http_status = http_status;
  outcome.final = progress.final;
  return outcome;
}

}  // namespace

Status Registry::FetchBlob(const Access& access, const BlobRequest& blob, BlobSink& sink,
                           std::stop_token stop) {
  Progress progress{sink, blob.offset_bytes, blob.size_bytes, blob.end_bytes};
  if (blob.size_bytes && blob.offset_bytes > *blob.size_bytes) {
    return OutOfRange("byte " + std::to_string(blob.offset_bytes) + " of a blob of " +
                      Bytes(*blob.size_bytes));
  }
  if (blob.end_bytes && (!blob.size_bytes || *blob.end_bytes > *blob.size_bytes ||
                         *blob.end_bytes <= blob.offset_bytes)) {
    return OutOfRange("bytes " + std::to_string(blob.offset_bytes) + " to " +
                      std::to_string(*blob.end_bytes) + " of a blob");
  }
  if (blob.size_bytes && blob.offset_bytes == *blob.size_bytes && blob.offset_bytes > 0) {
    return sink.OnStart(blob.size_bytes);
  }
  RegistryCall call(*this, access,
                    {.kind = RegistryCall::Kind::kBlob, .path = "blobs/" + blob.digest.ToString()},
                    stop);
  return call.Run([&](const Route& route, net::HttpRequest request) {
    // Not "bytes=0-": some registries answer that without the length.
    if (progress.position > 0 || progress.end_bytes) {
      const std::string last =
          progress.end_bytes ? std::to_string(*progress.end_bytes - 1) : std::string();
      request.headers.Set("Range", "bytes=" + std::to_string(progress.position) + "-" + last);
    }
    request.total_timeout = std::chrono::milliseconds(0);
    request.low_speed_bytes = options_.low_speed_bytes;
    request.low_speed_window = options_.low_speed_window;
    request.body_stall_timeout = request.stall_timeout / 2;
    const std::chrono::milliseconds body_stall = request.body_stall_timeout;
    const uint64_t before = progress.position;
    auto transfer = std::make_shared<BlobTransfer>(progress);
    const auto handle = client_.Start(std::move(request), transfer);
    transfer->Attach(handle);
    std::stop_callback cancel(stop, [&handle] { handle->Cancel(); });
    Status status = transfer->Wait();
    Outcome outcome = Judge(call, route, progress, *transfer, std::move(status));
    outcome.fell_silent = transfer->FellSilent(body_stall);
    outcome.progress = progress.position - before >= options_.least_progress_bytes;
    return outcome;
  });
}

}  // namespace hearth::oci
