#include "plugin/file_download.h"

#include <algorithm>
#include <condition_variable>
#include <mutex>
#include <utility>

#include "base/log.h"
#include "base/units.h"
#include "p2p/traffic.h"
#include "plugin/blob_check.h"
#include "plugin/file_check.h"

namespace hearth::plugin {
namespace {

// How long one look for a free ingest takes; between two of them the stop token is looked at.
constexpr std::chrono::milliseconds kHoldWait{500};

// Of its Content-Range, "bytes */10".
std::optional<uint64_t> TotalBytesOf416(const net::HttpHeaders& headers) {
  constexpr std::string_view kBeforeTotal = "bytes */";
  const std::string_view range = headers.Get("Content-Range");
  if (!range.starts_with(kBeforeTotal)) return std::nullopt;
  return ParseDecimal(range.substr(kBeforeTotal.size()));
}

bool MayHelpToAskAgain(StatusCode code) {
  return code == StatusCode::kUnavailable || code == StatusCode::kDeadlineExceeded;
}

}  // namespace

FileDownload::FileDownload(FileCache& cache, const FileRequest& request,
                           const std::function<void(const FileProgress&)>& progress,
                           std::stop_token stop)
    : cache_(cache),
      options_(cache.options_),
      request_(request),
      progress_(progress),
      stop_(std::move(stop)),
      patience_(options_.stall_timeout) {}

Result<FileResult> FileDownload::Run() {
  TRY_STATUS(Name());
  if (HaveExpected()) return result_;
  TRY_STATUS(LoadTask());
  bool is_new = false;
  const auto growing = cache_.Join(entry_.task_id, &is_new);
  if (!is_new) return Work();
  // A download that ended between the two has left what it fetched.
  if (const Status loaded = LoadTask(); !loaded.ok()) {
    cache_.Leave(entry_.task_id, growing);
    growing->End(loaded, std::nullopt);
    return loaded;
  }
  // From now on the readers want it too: our caller's stop only takes back its own wish.
  growing_ = growing;
  std::shared_ptr<void> wanted = growing->Want();
  const std::stop_callback on_stop(stop_, [&wanted] { wanted.reset(); });
  stop_ = growing->wanted();
  auto result = Work();
  growing->End(result.status(), result.ok() ? std::optional(result->digest) : std::nullopt);
  cache_.Leave(entry_.task_id, growing);
  return result;
}

Result<FileResult> FileDownload::Feed(std::shared_ptr<GrowingFile> growing) {
  growing_ = std::move(growing);
  patient_ = false;
  const auto work = [this]() -> Result<FileResult> {
    TRY_STATUS(Name());
    TRY_STATUS(LoadTask());
    // Offer() asked already and learned of a newer version.
    have_ = false;
    return Work();
  };
  auto result = work();
  growing_->End(result.status(), result.ok() ? std::optional(result->digest) : std::nullopt);
  return result;
}

Result<FileResult> FileDownload::Work() {
  for (int failures = 0;;) {
    const uint64_t received_before = result_.received_bytes;
    auto outcome = Attempt();
    if (outcome.ok() && *outcome == Outcome::kDone) return result_;
    if (stop_.stop_requested()) return Cancelled("fetching " + result_.url);
    if (outcome.ok()) continue;
    const Status error = outcome.status().Annotate("fetching " + result_.url);
    if (disk_failed_ || !MayHelpToAskAgain(error.code())) return error;
    if (!patient_ && !began_) return error;
    if (have_ && options_.allow_offline) {
      LOG_WARNING("origin cannot be asked, the stored file is given out",
                  {{"url", result_.url}, {"error", error}});
      result_.unchecked = true;
      return result_;
    }
    const bool progress = result_.received_bytes - received_before >= options_.least_progress_bytes;
    failures = progress ? 0 : failures + 1;
    if (progress) patience_ = options_.stall_timeout;
    if (have_ || failures >= options_.max_attempts) return error;
    if (error.code() == StatusCode::kDeadlineExceeded) {
      if (!fell_silent_) return error;
      patience_ /= 2;
    }
    TRY_STATUS(Pause(failures));
  }
}

Status FileDownload::Name() {
  name_ = options_.rules.Name(request_.url, request_.labels);
  if (request_.expected) name_.digest = request_.expected->ToString();
  result_.task_id = TRY(name_.TaskId());
  result_.url = TRY(name_.ShownUrl());
  return OkStatus();
}

// Bytes that the caller names by digest are the same from everywhere: nobody is asked.
bool FileDownload::HaveExpected() {
  if (!request_.expected) return false;
  const auto info = options_.blobs.Info(*request_.expected);
  if (!info.ok()) return false;
  result_.digest = info->digest;
  result_.size_bytes = info->size_bytes;
  const Status kept = options_.blobs.Preheat(info->digest, std::nullopt);
  return kept.ok();
}

Status FileDownload::LoadTask() {
  entry_ = TRY(cache_.index_.Find(name_));
  result_.task_id = entry_.task_id;
  have_ = false;
  if (!entry_.task.digest) return OkStatus();
  if (request_.expected && *request_.expected != *entry_.task.digest) return OkStatus();
  const auto info = options_.blobs.Info(*entry_.task.digest);
  if (!info.ok()) return OkStatus();
  have_ = true;
  result_.digest = info->digest;
  result_.size_bytes = info->size_bytes;
  return OkStatus();
}

Status FileDownload::SaveTask(kv::Sync sync) { return cache_.index_.Save(entry_, name_, sync); }

std::optional<Digest> FileDownload::Judge() const {
  return request_.expected ? request_.expected : entry_.task.partial.digest;
}

// Waits while another call fetches the same file; then we may have it.
Status FileDownload::Hold() {
  bool waited = false;
  while (!ingest_) {
    if (stop_.stop_requested()) return Cancelled("waiting for another download of the same file");
    auto held = options_.ingests.Open(std::string(kFileIngestPrefix) + result_.task_id, 0,
                                      Deadline::After(kHoldWait));
    if (held.ok()) {
      ingest_ = *std::move(held);
    } else if (held.status().code() != StatusCode::kUnavailable) {
      disk_failed_ = true;
      return held.status();
    }
    waited = waited || !ingest_;
  }
  if (waited) TRY_STATUS(LoadTask());
  offset_bytes_ = ingest_->Info().offset_bytes;
  return OkStatus();
}

Result<std::unique_ptr<HttpStream>> FileDownload::Ask() {
  net::HttpRequest request;
  request.url = name_.url;
  request.headers = WithoutConditions(request_.headers);
  request.max_redirects = options_.max_redirects;
  request.stall_timeout = patience_;
  request.connect_timeout = std::min(request.connect_timeout, patience_);
  request.body_stall_timeout = patience_ / 2;
  request.low_speed_bytes = options_.low_speed_bytes;
  request.low_speed_window = options_.low_speed_window;
  if (offset_bytes_ > 0) {
    request.headers.Set("Range", "bytes=" + std::to_string(offset_bytes_) + "-");
    const std::string validator = entry_.task.partial.Validator();
    if (!validator.empty()) request.headers.Set("If-Range", validator);
  }
  return HttpStream::Open(options_.client, std::move(request), stop_);
}

Result<FileDownload::Outcome> FileDownload::Check() {
  const auto check =
      TRY(FileCheck::Ask({.client = options_.client,
                          .max_redirects = options_.max_redirects,
                          .stall_timeout = options_.stall_timeout},
                         "GET", name_.url, request_.headers, entry_.task.complete, stop_));
  switch (check.verdict) {
    case FileCheck::Verdict::kSame:
      ingest_.reset();
      return Outcome::kDone;
    case FileCheck::Verdict::kChanged:
      have_ = false;
      return Outcome::kAgain;
    case FileCheck::Verdict::kRefused:
      break;
  }
  return OriginStatus(check.refusal->status);
}

Result<FileDownload::Outcome> FileDownload::Attempt() {
  fell_silent_ = false;
  if (have_) return Check();
  if (!ingest_) {
    TRY_STATUS(Hold());
    if (have_) return Check();
  }
  // Without anything that names the version, only a digest could tell that parts do not fit.
  if (offset_bytes_ > 0 && entry_.task.partial.Validator().empty() && !Judge()) {
    TRY_STATUS(Restart({}));
  }
  const auto stream = TRY(Ask());
  const int http_status = stream->head().status;
  if (http_status == 416 && offset_bytes_ > 0) {
    if (HaveAll(stream->head())) return CommitAll();
    TRY_STATUS(Restart({}));
    return Outcome::kAgain;
  }
  if (http_status != 200 && http_status != 206) {
    if (growing_ && !patient_) growing_->Refuse(ReadRefusal(*stream));
    return OriginStatus(http_status);
  }
  return TakeBody(*stream, TRY(FileVersion::Of(stream->head(), offset_bytes_)));
}

Result<FileDownload::Outcome> FileDownload::TakeBody(HttpStream& stream,
                                                     const FileVersion& version) {
  const bool resumed = stream.head().status == 206 && offset_bytes_ > 0;
  if (resumed && !version.etag.empty() && version.etag != entry_.task.partial.etag) {
    TRY_STATUS(Restart({}));  // it ignored If-Range
    return Outcome::kAgain;
  }
  TRY_STATUS(MakeRoom(resumed ? offset_bytes_ : 0, version.size_bytes));
  if (!resumed) TRY_STATUS(Restart(version));
  total_bytes_ = version.size_bytes;
  if (resumed) entry_.task.partial.size_bytes = total_bytes_;
  if (total_bytes_) ingest_->SetTotal(*total_bytes_);
  TRY_STATUS(ShowReaders());
  TRY_STATUS(Receive(stream));
  return Commit(resumed);
}

// Nothing follows what an interrupted download left: its end came, and was not committed.
bool FileDownload::HaveAll(const net::HttpResponseHead& refusal) const {
  const auto total = TotalBytesOf416(refusal.headers);
  const std::string_view etag = refusal.headers.Get("ETag");
  return total == offset_bytes_ && (etag.empty() || etag == entry_.task.partial.etag);
}

Result<FileDownload::Outcome> FileDownload::CommitAll() {
  total_bytes_ = offset_bytes_;
  entry_.task.partial.size_bytes = total_bytes_;
  ingest_->SetTotal(*total_bytes_);
  TRY_STATUS(ShowReaders());
  return Commit(/*resumed=*/true);
}

Status FileDownload::ShowReaders() {
  began_ = true;
  if (!growing_) return OkStatus();
  auto file = TRY(ingest_->OpenForReading());
  FileVersion version = entry_.task.partial;
  version.digest = Judge();
  growing_->Begin(version, std::make_shared<const Fd>(std::move(file)), offset_bytes_);
  return OkStatus();
}

Status FileDownload::MakeRoom(uint64_t from_bytes, std::optional<uint64_t> total_bytes) {
  if (!request_.make_room) return OkStatus();
  const uint64_t end_bytes =
      std::max(from_bytes, total_bytes.value_or(from_bytes + kRoomStepBytes));
  const Status made = request_.make_room(end_bytes - from_bytes);
  if (made.ok()) {
    room_end_bytes_ = end_bytes;
    return made;
  }
  disk_failed_ = true;
  // What is here would stay in the way of others: nothing evicts a part of a file.
  (void)ingest_->Abandon();
  return made;
}

// The record first: bytes must never stand beside the name of another version.
Status FileDownload::Restart(const FileVersion& version) {
  disk_failed_ = true;
  TRY_STATUS(ingest_->Truncate());
  entry_.task.partial = version;
  TRY_STATUS(SaveTask(kv::Sync::kNo));
  disk_failed_ = false;
  offset_bytes_ = 0;
  return OkStatus();
}

Status FileDownload::Receive(HttpStream& stream) {
  if (progress_) progress_({offset_bytes_, total_bytes_});
  while (true) {
    auto read = stream.Read();
    // Not what we wait for our own limits.
    if (!read.ok()) fell_silent_ = stream.silence() >= patience_ / 4;
    const std::string data = TRY(std::move(read));
    if (data.empty()) break;
    if (!total_bytes_ && offset_bytes_ + data.size() > room_end_bytes_) {
      TRY_STATUS(MakeRoom(offset_bytes_, std::nullopt));
    }
    if (const Status appended = ingest_->Append(data); !appended.ok()) {
      disk_failed_ = true;
      return appended;
    }
    offset_bytes_ += data.size();
    result_.received_bytes += data.size();
    if (growing_) growing_->Advance(offset_bytes_);
    if (progress_) progress_({offset_bytes_, total_bytes_});
    TRY_STATUS(Pay(data.size()));
  }
  if (total_bytes_ && offset_bytes_ != *total_bytes_) {
    return Unavailable("the body ended after " + std::to_string(offset_bytes_) + " of " +
                       std::to_string(*total_bytes_) + " bytes");
  }
  return OkStatus();
}

Status FileDownload::Pay(uint64_t bytes) {
  p2p::CountReceived(p2p::ByteOrigin::kFileServer, bytes);
  if (options_.limiter == nullptr) return OkStatus();
  const SteadyTime paid = options_.limiter->Charge(p2p::Limiter::Traffic::kOrigin, bytes,
                                                   std::chrono::steady_clock::now());
  // Behind the last byte nobody waits: whoever is next pays for it.
  return offset_bytes_ == total_bytes_ ? OkStatus() : WaitUntil(paid);
}

Result<FileDownload::Outcome> FileDownload::Commit(bool resumed) {
  disk_failed_ = true;
  const Digest digest = TRY(ingest_->CurrentDigest());
  const std::optional<Digest> judge = Judge();
  if (judge && digest != *judge) {
    if (resumed) {  // maybe only the parts do not fit
      TRY_STATUS(Restart({}));
      return Outcome::kAgain;
    }
    TRY_STATUS(ingest_->Abandon());
    return DataLoss("its digest is " + digest.ToString() + ", not the " +
                    (request_.expected ? "expected " : "announced ") + judge->ToString());
  }
  // What is here of that digest would be kept in place of what came.
  TRY_STATUS(DropIfDamaged(options_.blobs, digest, {}).status());
  const auto before = options_.blobs.Info(digest);
  const bool claimed_before = before.ok() && before->claimed;
  const auto committed = ingest_->Commit(offset_bytes_, digest, {});
  if (!committed.ok() && committed.status().code() != StatusCode::kAlreadyExists) {
    return committed.status();
  }
  ingest_.reset();
  TRY_STATUS(options_.blobs.Preheat(digest, std::nullopt));
  if (!claimed_before) TRY_STATUS(options_.blobs.Unclaim(digest));  // containerd never asked for it
  result_.digest = digest;
  result_.size_bytes = offset_bytes_;
  entry_.task.digest = digest;
  entry_.task.complete = std::exchange(entry_.task.partial, {});
  entry_.task.complete.size_bytes = offset_bytes_;
  TRY_STATUS(SaveTask(kv::Sync::kYes));
  disk_failed_ = false;
  return Outcome::kDone;
}

Status FileDownload::Pause(int failures) {
  const auto wait =
      std::min(options_.first_backoff * (1 << std::min(failures, 10)), options_.max_backoff);
  return WaitUntil(std::chrono::steady_clock::now() + wait);
}

Status FileDownload::WaitUntil(SteadyTime until) {
  std::mutex mutex;
  std::condition_variable_any stopped;
  std::unique_lock lock(mutex);
  stopped.wait_until(lock, stop_, until, [] { return false; });
  return stop_.stop_requested() ? Cancelled("fetching " + result_.url) : OkStatus();
}

Status FileDownload::OriginStatus(int http_status) const {
  const std::string what = "the server answered " + std::to_string(http_status);
  if (http_status == 408 || http_status == 429) return Unavailable(what);
  if (http_status < 400) return Unavailable(what + ", which is no answer to a download");
  return net::HttpStatusError(http_status, what);
}

}  // namespace hearth::plugin
