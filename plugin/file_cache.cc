#include "plugin/file_cache.h"

#include <utility>

#include "base/log.h"
#include "oci/task_id.h"
#include "plugin/file_check.h"
#include "plugin/file_download.h"

namespace hearth::plugin {
namespace {

// A range that begins so far ahead of what is here waits for it; one further ahead does not.
constexpr uint64_t kMaxAheadBytes = 4 * 1024 * 1024;

bool OriginGone(StatusCode code) {
  return code == StatusCode::kUnavailable || code == StatusCode::kDeadlineExceeded;
}

FileOffer Passed(const FileIndex::Entry& entry) {
  FileOffer offer;
  offer.task_id = entry.task_id;
  return offer;
}

}  // namespace

std::optional<Digest> DigestOfBlobUrl(const std::string& url) {
  const auto hex = oci::TaskIdOfBlobUrl(url);
  if (!hex.ok()) return std::nullopt;
  const auto digest = Digest::Parse("sha256:" + *hex);
  if (!digest.ok() || url.find("/blobs/sha256:") == std::string::npos) return std::nullopt;
  return *digest;
}

bool IsFileIngest(std::string_view ref) {
  constexpr size_t kTaskIdDigits = 64;
  const std::string_view prefix = kFileIngestPrefix;
  return ref.starts_with(prefix) && ref.size() == prefix.size() + kTaskIdDigits &&
         ref.find_first_not_of("0123456789abcdef", prefix.size()) == std::string_view::npos;
}

FileCache::FileCache(Options options)
    : options_(std::move(options)),
      index_(options_.kv),
      downloads_({.name = "file-download",
                  .threads = options_.parallel_downloads,
                  .queue_limit = options_.parallel_downloads}) {}

FileCache::~FileCache() { Stop(); }

void FileCache::Stop() {
  std::map<std::string, std::shared_ptr<GrowingFile>> running;
  {
    MutexLock lock(mutex_);
    stopped_ = true;
    running = running_;
  }
  for (const auto& [task_id, growing] : running) growing->Stop();
  downloads_.Join();
}

Status FileCache::Sweep() {
  const WallTime now = options_.clock.WallNow();
  const auto is_young = [now](const store::IngestInfo& ingest) {
    return ingest.updated + kKeepPartialFile > now;
  };
  std::vector<std::string> stale;
  TRY_STATUS(options_.ingests.List([&](const store::IngestInfo& ingest) {
    if (IsFileIngest(ingest.ref) && !is_young(ingest)) stale.push_back(ingest.ref);
    return true;
  }));
  for (const std::string& ref : stale) {
    // Whoever took it up again meanwhile holds it.
    const auto held = options_.ingests.Open(ref, 0, Deadline::After(std::chrono::milliseconds(0)));
    if (held.ok() && !is_young((*held)->Info())) TRY_STATUS((*held)->Abandon());
  }
  return index_.Sweep([&](const FileIndex::Entry& entry) {
    if (entry.task.digest) {
      const auto code = options_.blobs.Info(*entry.task.digest).status().code();
      if (code != StatusCode::kNotFound) return true;
    }
    const auto partial = options_.ingests.Info(std::string(kFileIngestPrefix) + entry.task_id);
    return partial.status().code() != StatusCode::kNotFound;
  });
}

std::shared_ptr<GrowingFile> FileCache::Join(const std::string& task_id, bool* is_new) {
  MutexLock lock(mutex_);
  auto& running = running_[task_id];
  *is_new = running == nullptr;
  if (*is_new) running = std::make_shared<GrowingFile>();
  return running;
}

void FileCache::Leave(const std::string& task_id, const std::shared_ptr<GrowingFile>& file) {
  MutexLock lock(mutex_);
  const auto found = running_.find(task_id);
  if (found != running_.end() && found->second == file) running_.erase(found);
}

Result<FileResult> FileCache::Get(const FileRequest& request,
                                  const std::function<void(const FileProgress&)>& progress,
                                  std::stop_token stop) {
  return FileDownload(*this, request, progress, std::move(stop)).Run();
}

Result<FileOffer> FileCache::Offer(const FileRequest& request, const std::string& method,
                                   uint64_t begin_bytes, bool only_stored, std::stop_token stop) {
  const FileName name = options_.rules.Name(request.url, request.labels);
  FileRequest origin = request;
  origin.url = name.url;
  if (const auto blob = FindBlob(name.url)) {
    FileOffer offer = TRY(OfferStored(origin, method, *blob, stop));
    if (offer.kind != FileOffer::Kind::kPass) return offer;
  }
  while (true) {
    const FileIndex::Entry entry = TRY(index_.Find(name));
    if (entry.task.digest && options_.blobs.Info(*entry.task.digest).ok()) {
      FileOffer offer = TRY(OfferStored(origin, method, entry, stop));
      if (offer.kind != FileOffer::Kind::kPass) return offer;
    }
    if (method != "GET" || only_stored || stop.stop_requested()) return Passed(entry);
    bool is_new = false;
    const auto growing = Join(entry.task_id, &is_new);
    // A download that ended since we looked has left what it fetched: another look finds it.
    const auto now = index_.Find(name);
    const bool ended = is_new && (!now.ok() || now->task.digest != entry.task.digest);
    if (!ended) return OfferGrowing(origin, entry, begin_bytes, growing, is_new, stop);
    Leave(entry.task_id, growing);
  }
}

std::optional<FileIndex::Entry> FileCache::FindBlob(const std::string& url) const {
  const auto digest = DigestOfBlobUrl(url);
  if (!digest) return std::nullopt;
  const auto info = options_.blobs.Info(*digest);
  if (!info.ok()) return std::nullopt;
  FileIndex::Entry entry;
  entry.task_id = digest->hex();
  entry.task.url = WithoutSecrets(url);
  entry.task.digest = entry.task.complete.digest = *digest;
  entry.task.complete.size_bytes = info->size_bytes;
  entry.task.complete.headers.Add("Content-Type", "application/octet-stream");
  return entry;
}

Result<FileOffer> FileCache::OfferStored(const FileRequest& request, const std::string& method,
                                         const FileIndex::Entry& entry, std::stop_token stop) {
  FileOffer offer = Passed(entry);
  const bool is_blob = DigestOfBlobUrl(request.url) == entry.task.digest;
  auto check = FileCheck::Ask({.client = options_.client,
                               .max_redirects = options_.max_redirects,
                               .stall_timeout = options_.stall_timeout,
                               .named_by_digest = is_blob},
                              method, request.url, request.headers, entry.task.complete, stop);
  const bool gone = check.ok() ? check->refusal && check->refusal->status >= 500
                               : OriginGone(check.status().code());
  // Who may have a registry's blob the mirror remembers, and nobody here.
  if (gone && !stop.stop_requested() && options_.allow_offline && !is_blob) {
    LOG_WARNING("origin cannot be asked, the stored file is given out", {{"url", entry.task.url}});
    offer.unchecked = true;
  } else if (!check.ok()) {
    return check.status();
  } else if (check->verdict == FileCheck::Verdict::kRefused) {
    offer.kind = FileOffer::Kind::kRefused;
    offer.refusal = std::move(check->refusal);
    return offer;
  } else if (check->verdict == FileCheck::Verdict::kChanged) {
    return offer;
  }
  auto blob = options_.blobs.Open(*entry.task.digest);
  if (!blob.ok()) return offer;
  offer.kind = FileOffer::Kind::kStored;
  offer.version = entry.task.complete;
  offer.blob = *std::move(blob);
  return offer;
}

Result<FileOffer> FileCache::OfferGrowing(const FileRequest& request, const FileIndex::Entry& entry,
                                          uint64_t begin_bytes,
                                          const std::shared_ptr<GrowingFile>& growing, bool is_new,
                                          std::stop_token stop) {
  FileOffer offer = Passed(entry);
  const auto partial = options_.ingests.Info(std::string(kFileIngestPrefix) + entry.task_id);
  const uint64_t kept_bytes = partial.ok() ? partial->offset_bytes : 0;
  if (is_new && begin_bytes > kept_bytes + kMaxAheadBytes && !request.prefetch) {
    Leave(entry.task_id, growing);
    growing->End(Unavailable("its only reader wants another part"), std::nullopt);
    return offer;
  }
  auto wanted = growing->Want();
  if (is_new && !StartDownload(request, entry.task_id, growing)) return offer;
  if (is_new && begin_bytes > kept_bytes + kMaxAheadBytes) return offer;
  if (!growing->AwaitBegin(std::chrono::steady_clock::now() + options_.head_timeout, stop)) {
    return offer;
  }
  GrowingFile::State state = growing->state();
  const bool failed = state.ended && !state.ended->ok();
  if (is_new && failed) {  // the origin's answer to this very request
    if (!state.refusal) return *state.ended;
    offer.kind = FileOffer::Kind::kRefused;
    offer.refusal = std::move(state.refusal);
    return offer;
  }
  if (failed || begin_bytes > state.present_bytes + kMaxAheadBytes) return offer;
  if (!is_new) {
    // Somebody else's request brings it: the origin must grant it to this one too.
    auto check = TRY(FileCheck::Ask({.client = options_.client,
                                     .max_redirects = options_.max_redirects,
                                     .stall_timeout = options_.stall_timeout},
                                    "GET", request.url, request.headers, state.version, stop));
    if (check.verdict == FileCheck::Verdict::kChanged) return offer;
    if (check.verdict == FileCheck::Verdict::kRefused) {
      offer.kind = FileOffer::Kind::kRefused;
      offer.refusal = std::move(check.refusal);
      return offer;
    }
  }
  offer.kind = FileOffer::Kind::kGrowing;
  offer.growing = growing;
  offer.wanted = std::move(wanted);
  return offer;
}

// False when too many run already.
bool FileCache::StartDownload(const FileRequest& request, const std::string& task_id,
                              const std::shared_ptr<GrowingFile>& growing) {
  const auto run = [this, request, task_id, growing,
                    kept = request.prefetch ? growing->Want() : nullptr] {
    FileDownload download(*this, request, nullptr, growing->wanted());
    const auto result = download.Feed(growing);
    if (!result.ok()) {
      LOG_INFO("file not fetched", {{"task_id", task_id}, {"error", result.status()}});
    }
    Leave(task_id, growing);
    MutexLock lock(mutex_);
    --downloading_;
  };
  {
    MutexLock lock(mutex_);
    const bool room = !stopped_ && downloading_ < options_.parallel_downloads;
    if (room) ++downloading_;
    if (!room || !downloads_.Submit(run).ok()) {
      if (room) --downloading_;
      running_.erase(task_id);
      growing->End(Unavailable("too many files are being fetched"), std::nullopt);
      return false;
    }
  }
  return true;
}

}  // namespace hearth::plugin
