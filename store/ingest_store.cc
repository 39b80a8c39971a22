#include "store/ingest_store.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <list>
#include <system_error>
#include <unordered_map>
#include <unordered_set>
#include <utility>

#include "base/log.h"
#include "store/ingest_index.h"
#include "store/open_ingest.h"

namespace hearth::store {

namespace {

constexpr uint32_t kDirectoryMode = 0700;
constexpr mode_t kFileMode = 0600;
constexpr size_t kMaxRefBytes = 16 * 1024;
// Running hashes kept of refs that nobody holds, so that a resumed one need not be read again.
constexpr size_t kKeptHashes = 256;

uint64_t Names(int fd) {
  struct stat info {};
  return ::fstat(fd, &info) == 0 ? info.st_nlink : 0;
}

// `mutex_` guards who holds which ref; an ingest's own lock, what others may ask of it, is the
// inner one.
class DiskIngestStore final : public IngestStore, private IngestOwner {
 public:
  DiskIngestStore(const Options& options, std::filesystem::path directory)
      : options_(options), directory_(std::move(directory)), index_(options.kv) {}

  Status Sweep();

  Result<std::unique_ptr<Ingest>> Open(const std::string& ref, uint64_t total_bytes,
                                       Deadline deadline) override;
  Result<IngestInfo> Info(const std::string& ref) const override;
  Status List(const std::function<bool(const IngestInfo&)>& visit) const override;
  Status Abort(const std::string& ref) override;
  Status Verify(const std::function<void(const std::string&)>& problem) const override;

 private:
  const Options& options() const override { return options_; }
  std::filesystem::path PathOf(uint64_t file) const override {
    return directory_ / std::to_string(file);
  }
  Result<Fd> MakeFile(uint64_t* file) override;
  Status Put(const OpenIngest& ingest, const IngestRecord& record) override;
  Status RemoveFile(uint64_t file) override;
  void Release(const OpenIngest& ingest, std::optional<KeptHash> hash) override;
  Status End(const OpenIngest& ingest, const IngestRecord& record) override;

  Result<IngestRecord> FindOrMake(const std::string& ref, uint64_t total_bytes, Fd* file);
  Result<IngestInfo> InfoAtRest(const IngestRecord& record) const;
  Status SweepRecord(const std::string& ref, const Result<IngestRecord>& record,
                     std::unordered_set<std::string>& files);
  void KeepHash(const std::string& ref, KeptHash hash) REQUIRES(mutex_);
  std::optional<KeptHash> TakeHash(const std::string& ref) REQUIRES(mutex_);

  const Options options_;
  const std::filesystem::path directory_;
  const std::string boot_id_ = BootId();
  IngestIndex index_;

  mutable Mutex mutex_;
  CondVar released_;
  std::unordered_map<std::string, OpenIngest*> held_ GUARDED_BY(mutex_);   // null: being opened
  std::list<std::pair<std::string, KeptHash>> hashes_ GUARDED_BY(mutex_);  // newest first
  uint64_t last_file_ GUARDED_BY(mutex_) = 0;
  // Files whose record is about to be made, or was just dropped.
  std::unordered_set<uint64_t> between_ GUARDED_BY(mutex_);
};

Result<std::unique_ptr<Ingest>> DiskIngestStore::Open(const std::string& ref, uint64_t total_bytes,
                                                      Deadline deadline) {
  if (ref.empty() || ref.size() > kMaxRefBytes) {
    return InvalidArgument("an ingest's ref must have 1 to " + std::to_string(kMaxRefBytes) +
                           " bytes, not " + std::to_string(ref.size()));
  }
  std::optional<KeptHash> kept;
  {
    MutexLock lock(mutex_);
    while (held_.contains(ref)) {
      const bool in_time = deadline.IsNever() ? (released_.Wait(mutex_), true)
                                              : released_.WaitUntil(mutex_, deadline.at());
      if (!in_time && held_.contains(ref)) {
        return Unavailable("ref \"" + ref + "\" is locked: another writer has it open");
      }
    }
    held_[ref] = nullptr;
    kept = TakeHash(ref);
  }
  Fd file;
  uint64_t size = 0;
  auto record = FindOrMake(ref, total_bytes, &file);
  Status status = record.status();
  if (status.ok()) {
    const auto found = FileSize(file.get());
    status = found.status();
    if (found.ok()) size = *found;
  }
  MutexLock lock(mutex_);
  if (!status.ok()) {
    held_.erase(ref);
    released_.NotifyAll();
    return status;
  }
  std::optional<Sha256> hash;
  if (size == 0) hash.emplace();
  if (kept && kept->file == record->file && kept->offset_bytes == size)
    hash = std::move(kept->hash);
  auto ingest = std::make_unique<OpenIngest>(static_cast<IngestOwner&>(*this), *record,
                                             std::move(file), size, std::move(hash));
  held_[ref] = ingest.get();
  released_.NotifyAll();
  return std::unique_ptr<Ingest>(std::move(ingest));
}

// The stored ingest where its total agrees, else a new one.
Result<IngestRecord> DiskIngestStore::FindOrMake(const std::string& ref, uint64_t total_bytes,
                                                 Fd* file) {
  auto found = index_.Find(ref);
  if (found.ok()) {
    const bool same =
        total_bytes == 0 || found->total_bytes == 0 || found->total_bytes == total_bytes;
    auto opened = OpenFile(PathOf(found->file), O_RDWR);
    if (same && opened.ok()) {
      *file = std::move(*opened);
      if (total_bytes != 0) found->total_bytes = total_bytes;
      return found;
    }
  } else if (found.status().code() != StatusCode::kNotFound) {
    return found;
  }
  IngestRecord fresh;
  fresh.ref = ref;
  fresh.total_bytes = total_bytes;
  fresh.started = options_.clock.WallNow();
  fresh.updated = fresh.started;
  fresh.boot_id = boot_id_;
  *file = TRY(MakeFile(&fresh.file));
  Status put;
  {
    MutexLock lock(mutex_);
    put = index_.Put(fresh);
    if (put.ok()) between_.erase(fresh.file);
    if (put.ok() && found.ok()) between_.insert(found->file);
  }
  if (!put.ok()) {
    (void)RemoveFile(fresh.file);
    return put;
  }
  if (found.ok()) (void)RemoveFile(found->file);
  return fresh;
}

// Numbers are times, so that none comes back after a power loss.
Result<Fd> DiskIngestStore::MakeFile(uint64_t* file) {
  {
    MutexLock lock(mutex_);
    last_file_ = std::max<uint64_t>(last_file_ + 1, ToUnixNanos(options_.clock.WallNow()));
    *file = last_file_;
    between_.insert(*file);
  }
  auto made = OpenFile(PathOf(*file), O_RDWR | O_CREAT | O_EXCL, kFileMode);
  if (!made.ok()) {
    MutexLock lock(mutex_);
    between_.erase(*file);
  }
  return made;
}

// What cannot be removed is swept at the next start.
Status DiskIngestStore::RemoveFile(uint64_t file) {
  const Status removed = options_.disk.Unlink(PathOf(file));
  MutexLock lock(mutex_);
  between_.erase(file);
  return removed;
}

Status DiskIngestStore::Put(const OpenIngest& ingest, const IngestRecord& record) {
  MutexLock lock(mutex_);
  const auto held = held_.find(record.ref);
  if (held == held_.end() || held->second != &ingest) {
    return NotFound("ingest \"" + record.ref + "\" was aborted");
  }
  const uint64_t before = ingest.file_number();
  TRY_STATUS(index_.Put(record));
  between_.erase(record.file);
  if (before != record.file) between_.insert(before);
  return OkStatus();
}

void DiskIngestStore::Release(const OpenIngest& ingest, std::optional<KeptHash> hash) {
  MutexLock lock(mutex_);
  const auto held = held_.find(ingest.ref());
  if (held == held_.end() || held->second != &ingest) return;
  if (hash) KeepHash(ingest.ref(), std::move(*hash));
  held_.erase(held);
  released_.NotifyAll();
}

Status DiskIngestStore::End(const OpenIngest& ingest, const IngestRecord& record) {
  {
    MutexLock lock(mutex_);
    const auto held = held_.find(record.ref);
    if (held == held_.end() || held->second != &ingest) return OkStatus();
    const Status removed = index_.Remove(record.ref);
    held_.erase(held);
    released_.NotifyAll();
    TRY_STATUS(removed);
    between_.insert(record.file);
  }
  return RemoveFile(record.file);
}

void DiskIngestStore::KeepHash(const std::string& ref, KeptHash hash) {
  (void)TakeHash(ref);
  hashes_.emplace_front(ref, std::move(hash));
  if (hashes_.size() > kKeptHashes) hashes_.pop_back();
}

std::optional<KeptHash> DiskIngestStore::TakeHash(const std::string& ref) {
  for (auto it = hashes_.begin(); it != hashes_.end(); ++it) {
    if (it->first != ref) continue;
    KeptHash hash = std::move(it->second);
    hashes_.erase(it);
    return hash;
  }
  return std::nullopt;
}

Result<IngestInfo> DiskIngestStore::InfoAtRest(const IngestRecord& record) const {
  std::error_code error;
  const uint64_t size = std::filesystem::file_size(PathOf(record.file), error);
  if (error) return ErrnoStatus(error.value(), "ingest \"" + record.ref + "\"");
  return IngestInfo{.ref = record.ref,
                    .offset_bytes = size,
                    .total_bytes = record.total_bytes,
                    .expected = record.expected,
                    .started = record.started,
                    .updated = record.updated};
}

Result<IngestInfo> DiskIngestStore::Info(const std::string& ref) const {
  {
    MutexLock lock(mutex_);
    const auto held = held_.find(ref);
    if (held != held_.end() && held->second != nullptr) return held->second->Info();
  }
  return InfoAtRest(TRY(index_.Find(ref)));
}

Status DiskIngestStore::List(const std::function<bool(const IngestInfo&)>& visit) const {
  return index_.Scan([&](const std::string& ref, const Result<IngestRecord>& record) {
    if (!record.ok()) return true;
    const auto info = Info(ref);
    return info.ok() ? visit(*info) : true;
  });
}

Status DiskIngestStore::Abort(const std::string& ref) {
  IngestRecord record;
  {
    MutexLock lock(mutex_);
    auto held = held_.find(ref);
    while (held != held_.end() && held->second == nullptr) {
      released_.Wait(mutex_);
      held = held_.find(ref);
    }
    (void)TakeHash(ref);
    auto found = index_.Find(ref);
    if (found.status().code() == StatusCode::kNotFound) return OkStatus();
    TRY_STATUS(index_.Remove(ref));
    if (held != held_.end()) {
      held->second->MarkEnded();
      held_.erase(held);
      released_.NotifyAll();
    }
    if (!found.ok()) return OkStatus();  // its file is swept at the next start
    record = std::move(*found);
    between_.insert(record.file);
  }
  return RemoveFile(record.file);
}

// --- after a restart ---

Status DiskIngestStore::SweepRecord(const std::string& ref, const Result<IngestRecord>& record,
                                    std::unordered_set<std::string>& files) {
  if (record.ok()) {
    auto file = OpenFile(PathOf(record->file), O_RDWR);
    // With a second name it is a blob already: the crash came before the ingest's end.
    if (file.ok() && Names(file->get()) == 1) {
      files.insert(std::to_string(record->file));
      if (record->boot_id == boot_id_ && !boot_id_.empty()) return OkStatus();
      const uint64_t size = TRY(FileSize(file->get()));
      IngestRecord known = *record;
      known.synced_bytes = std::min(known.synced_bytes, size);
      known.boot_id = boot_id_;
      TRY_STATUS(options_.disk.Resize(file->get(), known.synced_bytes));
      return index_.Put(known);
    }
    if (!file.ok() && file.status().code() != StatusCode::kNotFound) return file.status();
  }
  LOG_WARNING(
      "record of an ingest dropped",
      {{"ref", ref}, {"reason", record.ok() ? NotFound("its file is gone") : record.status()}});
  return index_.Remove(ref);
}

Status DiskIngestStore::Sweep() {
  std::unordered_set<std::string> files;
  Status failed;
  TRY_STATUS(index_.Scan([&](const std::string& ref, const Result<IngestRecord>& record) {
    failed = SweepRecord(ref, record, files);
    return failed.ok();
  }));
  TRY_STATUS(failed);
  std::error_code error;
  for (std::filesystem::directory_iterator it(directory_, error), end; !error && it != end;
       it.increment(error)) {
    if (files.contains(it->path().filename().string())) continue;
    LOG_INFO("file without an ingest removed", {{"path", it->path().string()}});
    TRY_STATUS(options_.disk.RemoveStray(it->path()));
  }
  if (error) return ErrnoStatus(error.value(), "walk " + directory_.string());
  return OkStatus();
}

// --- verification ---

Status DiskIngestStore::Verify(const std::function<void(const std::string&)>& problem) const {
  MutexLock lock(mutex_);
  std::unordered_map<std::string, std::string> refs;  // by name of the file
  TRY_STATUS(index_.Scan([&](const std::string& ref, const Result<IngestRecord>& record) {
    if (record.ok()) {
      refs.emplace(std::to_string(record->file), ref);
    } else {
      problem(record.status().message());
    }
    return true;
  }));
  for (const uint64_t file : between_) refs.emplace(std::to_string(file), "");
  std::error_code error;
  for (std::filesystem::directory_iterator it(directory_, error), end; !error && it != end;
       it.increment(error)) {
    if (refs.erase(it->path().filename().string()) == 0) {
      problem(it->path().string() + ": no record says what it is");
    }
  }
  if (error) return ErrnoStatus(error.value(), "walk " + directory_.string());
  for (const auto& [file, ref] : refs) {
    if (!ref.empty()) problem("ingest \"" + ref + "\": its file " + file + " is missing");
  }
  return OkStatus();
}

}  // namespace

Result<std::unique_ptr<IngestStore>> IngestStore::Open(Options options) {
  const std::filesystem::path directory = options.root / "ingest";
  TRY_STATUS(options.disk.MakeDirectory(directory, kDirectoryMode));
  auto store = std::make_unique<DiskIngestStore>(options, directory);
  TRY_STATUS(store->Sweep());
  return std::unique_ptr<IngestStore>(std::move(store));
}

}  // namespace hearth::store
