#include "plugin/file_download.h"

#include <algorithm>
#include <condition_variable>
#include <mutex>
#include <utility>

#include "base/log.h"
#include "oci/task_id.h"

namespace hearth::plugin {
namespace {

// How long one look for a free ingest takes; between two of them the stop token is looked at.
constexpr std::chrono::milliseconds kHoldWait{500};

bool BeginsWithoutCase(std::string_view text, std::string_view prefix) {
  return text.size() >= prefix.size() &&
         std::equal(prefix.begin(), prefix.end(), text.begin(),
                    [](char a, char b) { return a == (b >= 'A' && b <= 'Z' ? b + 32 : b); });
}

// "https://user:password@host/f" → "https://host/f"
std::string WithoutUserInfo(std::string url) {
  const size_t scheme = url.find("://");
  if (scheme == std::string::npos) return url;
  const size_t begin = scheme + 3;
  const size_t end = std::min(url.find_first_of("/?#", begin), url.size());
  const size_t at = url.substr(0, end).rfind('@');
  if (at == std::string::npos || at < begin) return url;
  return url.erase(begin, at + 1 - begin);
}

bool MayHelpToAskAgain(StatusCode code) {
  return code == StatusCode::kUnavailable || code == StatusCode::kDeadlineExceeded;
}

}  // namespace

FileDownload::FileDownload(const FileCache::Options& options, const FileRequest& request,
                           const std::function<void(const FileProgress&)>& progress,
                           std::stop_token stop)
    : options_(options), request_(request), progress_(progress), stop_(std::move(stop)) {}

Result<FileResult> FileDownload::Run() {
  TRY_STATUS(Name());
  if (HaveExpected()) return result_;
  LoadTask();
  for (int failures = 0;;) {
    const uint64_t received_before = result_.received_bytes;
    auto outcome = Attempt();
    if (outcome.ok() && *outcome == Outcome::kDone) return result_;
    if (stop_.stop_requested()) return Cancelled("fetching " + result_.url);
    if (outcome.ok()) continue;
    const Status error = outcome.status().Annotate("fetching " + result_.url);
    if (disk_failed_ || !MayHelpToAskAgain(error.code())) return error;
    if (have_ && options_.allow_offline) {
      LOG_WARNING("origin cannot be asked, the stored file is given out",
                  {{"url", result_.url}, {"error", error}});
      result_.unchecked = true;
      return result_;
    }
    failures = result_.received_bytes - received_before >= options_.least_progress_bytes
                   ? 0
                   : failures + 1;
    if (have_ || failures >= options_.max_attempts) return error;
    TRY_STATUS(Pause(failures));
  }
}

Status FileDownload::Name() {
  if (!BeginsWithoutCase(request_.url, "http://") && !BeginsWithoutCase(request_.url, "https://")) {
    return InvalidArgument("a file's URL begins with http:// or https://");
  }
  const oci::TaskIdInput input{.url = request_.url,
                               .digest = request_.expected ? request_.expected->ToString() : "",
                               .tag = {},
                               .application = {},
                               .revision = {},
                               .range = {},
                               .piece_length = {},
                               .filtered_query_params = {}};
  result_.task_id = TRY(oci::TaskId(oci::kDefaultTaskIdScheme, input));
  result_.url = WithoutUserInfo(TRY(oci::TaskUrl(oci::kDefaultTaskIdScheme, input)));
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

void FileDownload::LoadTask() {
  const auto record = options_.kv.Get(kv::Family::kTasks, result_.task_id);
  if (record.ok()) {
    auto task = FileTask::Decode(*record);
    if (task.ok()) task_ = *std::move(task);
  }
  task_.url = result_.url;
  if (!task_.digest) return;
  const auto info = options_.blobs.Info(*task_.digest);
  if (!info.ok()) return;
  have_ = true;
  result_.digest = info->digest;
  result_.size_bytes = info->size_bytes;
}

Status FileDownload::SaveTask(kv::Sync sync) {
  return options_.kv.Put(kv::Family::kTasks, result_.task_id, task_.Encode(), sync);
}

// Waits while another call fetches the same file.
Status FileDownload::Hold() {
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
  }
  offset_bytes_ = ingest_->Info().offset_bytes;
  return OkStatus();
}

Result<std::unique_ptr<HttpStream>> FileDownload::Ask() {
  net::HttpRequest request;
  request.url = request_.url;
  request.headers = request_.headers;
  request.max_redirects = options_.max_redirects;
  request.stall_timeout = options_.stall_timeout;
  if (have_) {
    const FileVersion& version = task_.complete;
    if (!version.etag.empty()) {
      request.headers.Set("If-None-Match", version.etag);
    } else if (!version.last_modified.empty()) {
      request.headers.Set("If-Modified-Since", version.last_modified);
    }
  } else if (offset_bytes_ > 0) {
    request.headers.Set("Range", "bytes=" + std::to_string(offset_bytes_) + "-");
    const std::string validator = task_.partial.Validator();
    if (!validator.empty()) request.headers.Set("If-Range", validator);
  }
  return HttpStream::Open(options_.client, std::move(request), stop_);
}

Result<FileDownload::Outcome> FileDownload::Attempt() {
  if (!have_) {
    TRY_STATUS(Hold());
    // Without anything that names the version, only a digest could tell that parts do not fit.
    if (offset_bytes_ > 0 && task_.partial.Validator().empty() && !request_.expected) {
      TRY_STATUS(Restart({}));
    }
  }
  const auto stream = TRY(Ask());
  const int http_status = stream->head().status;
  if (http_status == 304 && have_) return Outcome::kDone;
  if (http_status == 416 && offset_bytes_ > 0) {
    TRY_STATUS(Restart({}));
    return Outcome::kAgain;
  }
  if (http_status != 200 && http_status != 206) return OriginStatus(http_status);
  const FileVersion version = TRY(FileVersion::Of(stream->head(), offset_bytes_));
  if (have_ && version.Matches(task_.complete)) return Outcome::kDone;
  if (have_) {
    have_ = false;
    TRY_STATUS(Hold());
  }
  return TakeBody(*stream, version);
}

Result<FileDownload::Outcome> FileDownload::TakeBody(HttpStream& stream,
                                                     const FileVersion& version) {
  const bool resumed = stream.head().status == 206 && offset_bytes_ > 0;
  if (resumed && !version.etag.empty() && version.etag != task_.partial.etag) {
    TRY_STATUS(Restart({}));  // it ignored If-Range
    return Outcome::kAgain;
  }
  if (!resumed) TRY_STATUS(Restart(version));
  total_bytes_ = version.size_bytes;
  if (total_bytes_) ingest_->SetTotal(*total_bytes_);
  TRY_STATUS(Receive(stream));
  return Commit(resumed);
}

// The record first: bytes must never stand beside the name of another version.
Status FileDownload::Restart(const FileVersion& version) {
  disk_failed_ = true;
  TRY_STATUS(ingest_->Truncate());
  task_.partial = version;
  TRY_STATUS(SaveTask(kv::Sync::kNo));
  disk_failed_ = false;
  offset_bytes_ = 0;
  return OkStatus();
}

Status FileDownload::Receive(HttpStream& stream) {
  if (progress_) progress_({offset_bytes_, total_bytes_});
  while (true) {
    const std::string data = TRY(stream.Read());
    if (data.empty()) break;
    if (const Status appended = ingest_->Append(data); !appended.ok()) {
      disk_failed_ = true;
      return appended;
    }
    offset_bytes_ += data.size();
    result_.received_bytes += data.size();
    if (progress_) progress_({offset_bytes_, total_bytes_});
  }
  if (total_bytes_ && offset_bytes_ != *total_bytes_) {
    return Unavailable("the body ended after " + std::to_string(offset_bytes_) + " of " +
                       std::to_string(*total_bytes_) + " bytes");
  }
  return OkStatus();
}

Result<FileDownload::Outcome> FileDownload::Commit(bool resumed) {
  disk_failed_ = true;
  const Digest digest = TRY(ingest_->CurrentDigest());
  if (request_.expected && digest != *request_.expected) {
    if (resumed) {  // maybe only the parts do not fit
      TRY_STATUS(Restart({}));
      return Outcome::kAgain;
    }
    TRY_STATUS(ingest_->Abandon());
    return DataLoss("its digest is " + digest.ToString() + ", not the expected " +
                    request_.expected->ToString());
  }
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
  task_.digest = digest;
  task_.complete = std::exchange(task_.partial, {});
  task_.complete.size_bytes = offset_bytes_;
  TRY_STATUS(SaveTask(kv::Sync::kYes));
  disk_failed_ = false;
  return Outcome::kDone;
}

Status FileDownload::Pause(int failures) {
  const auto wait =
      std::min(options_.first_backoff * (1 << std::min(failures, 10)), options_.max_backoff);
  std::mutex mutex;
  std::condition_variable_any stopped;
  std::unique_lock lock(mutex);
  stopped.wait_for(lock, stop_, wait, [] { return false; });
  return stop_.stop_requested() ? Cancelled("fetching " + result_.url) : OkStatus();
}

Status FileDownload::OriginStatus(int http_status) const {
  const std::string what = "the server answered " + std::to_string(http_status);
  if (http_status == 408 || http_status == 429) return Unavailable(what);
  if (http_status < 400) return Unavailable(what + ", which is no answer to a download");
  return net::HttpStatusError(http_status, what);
}

}  // namespace hearth::plugin
