#include "manager/backup.h"

#include <fcntl.h>

#include <algorithm>
#include <array>
#include <functional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/file.h"
#include "base/raw_digest.h"
#include "base/units.h"

namespace hearth::manager {

namespace {

constexpr std::string_view kMagic = "hearth manager backup 1\n";
constexpr size_t kBufferBytes = 1 << 20;
constexpr uint64_t kMaxNameBytes = 64 << 10;
constexpr uint64_t kMaxValueBytes = 64 << 20;
constexpr uint64_t kMaxFileBytes = 1 << 20;
constexpr size_t kRecordsPerWrite = 1'000;
constexpr uint64_t kRestoreMemoryBytes = 32ull << 20;
// More jobs than anybody makes between a backup and its loss.
constexpr uint64_t kNumbersSkipped = 1'000'000;
constexpr std::array<const char*, 2> kNumberKeys = {"next_job", "next_cluster"};
// Without these every node would have to join again.
constexpr std::array<const char*, 2> kFiles = {"ca/ca.key", "ca/ca.pem"};

enum class Kind : char { kRecord = 'r', kFile = 'f', kEnd = 'e' };

struct Entry {
  Kind kind = Kind::kEnd;
  uint8_t family = 0;  // of a record
  std::string name;
  std::string value;
};

std::string BigEndian(uint64_t number, int bytes) {
  std::string text;
  for (int i = bytes - 1; i >= 0; --i) text += static_cast<char>((number >> (8 * i)) & 0xFF);
  return text;
}

uint64_t FromBigEndian(std::string_view text) {
  uint64_t number = 0;
  for (const char c : text) number = (number << 8) | static_cast<uint8_t>(c);
  return number;
}

class Writer {
 public:
  explicit Writer(Fd file) : file_(std::move(file)) { Append(kMagic); }

  Status Add(const Entry& entry) {
    Append(std::string(1, static_cast<char>(entry.kind)) + BigEndian(entry.family, 1) +
           BigEndian(entry.name.size(), 4) + BigEndian(entry.value.size(), 8));
    Append(entry.name);
    Append(entry.value);
    ++summary_.records;
    return buffer_.size() < kBufferBytes ? OkStatus() : Flush();
  }
  // On disk when it returns.
  Result<BackupSummary> Finish() {
    const uint64_t records = summary_.records;
    TRY_STATUS(Flush());
    summary_.sum = hash_.Current();
    TRY_STATUS(Add({.kind = Kind::kEnd, .name = "", .value = ToRaw(summary_.sum)}));
    TRY_STATUS(Flush());
    TRY_STATUS(SyncData(file_.get()));
    summary_.records = records;
    summary_.size_bytes = offset_;
    return summary_;
  }

 private:
  void Append(std::string_view text) { buffer_.append(text); }
  Status Flush() {
    TRY_STATUS(WriteAllAt(file_.get(), buffer_, offset_));
    hash_.Update(buffer_);
    offset_ += buffer_.size();
    buffer_.clear();
    return OkStatus();
  }

  const Fd file_;
  std::string buffer_;
  Sha256 hash_;
  uint64_t offset_ = 0;
  BackupSummary summary_;
};

// Entries of a file, in order.
class Reader {
 public:
  static Result<Reader> Open(const std::filesystem::path& path) {
    Reader reader(TRY(OpenFile(path, O_RDONLY)));
    const auto magic = reader.Take(kMagic.size());
    if (!magic.ok() || *magic != kMagic) return DataLoss("it is no backup of a manager");
    return reader;
  }

  Result<Entry> Next() {
    const Digest before = hash_.Current();
    const std::string head = TRY(Take(14));
    Entry entry;
    entry.kind = static_cast<Kind>(head[0]);
    entry.family = static_cast<uint8_t>(head[1]);
    const uint64_t name_bytes = FromBigEndian(std::string_view(head).substr(2, 4));
    const uint64_t value_bytes = FromBigEndian(std::string_view(head).substr(6, 8));
    const bool known = entry.kind == Kind::kFile || entry.kind == Kind::kEnd ||
                       (entry.kind == Kind::kRecord && entry.family < kv::kFamilies);
    if (!known || name_bytes > kMaxNameBytes || value_bytes > kMaxValueBytes) {
      return DataLoss("an entry at byte " + std::to_string(summary_.size_bytes) +
                      " that no backup has");
    }
    entry.name = TRY(Take(name_bytes));
    entry.value = TRY(Take(value_bytes));
    if (entry.kind != Kind::kEnd) {
      ++summary_.records;
    } else if (summary_.sum = before; entry.value != ToRaw(before)) {
      return DataLoss("its bytes are not those that were written");
    }
    return entry;
  }
  const BackupSummary& summary() const { return summary_; }

 private:
  explicit Reader(Fd file) : file_(std::move(file)) {}
  Result<std::string> Take(uint64_t bytes) {
    std::string text(bytes, '\0');
    size_t got = 0;
    while (got < bytes) {
      const std::span<char> rest = std::span(text).subspan(got);
      const size_t read = TRY(ReadAt(file_.get(), rest, summary_.size_bytes));
      if (read == 0) return DataLoss("it ends too early");
      got += read;
      summary_.size_bytes += read;
    }
    hash_.Update(text);
    return text;
  }

  Fd file_;
  Sha256 hash_;
  BackupSummary summary_;
};

// `take` is not called for the last entry.
Result<BackupSummary> ReadAll(const std::filesystem::path& file,
                              const std::function<Status(const Entry&)>& take) {
  Reader reader = TRY(Reader::Open(file).Annotate(file.native()));
  while (true) {
    const Entry entry = TRY(reader.Next().Annotate(file.native()));
    if (entry.kind == Kind::kEnd) return reader.summary();
    TRY_STATUS(take(entry));
  }
}

Status CopyFamily(const kv::Kv& kv, kv::Family family, Writer& out) {
  Status failed;
  TRY_STATUS(kv.Scan(family, "", [&](std::string_view key, std::string_view value) {
    failed = out.Add({.kind = Kind::kRecord,
                      .family = static_cast<uint8_t>(family),
                      .name = std::string(key),
                      .value = std::string(value)});
    return failed.ok();
  }));
  return failed;
}

Status CheckUnused(const std::filesystem::path& root) {
  if (std::error_code none; !std::filesystem::exists(root / "store", none)) return OkStatus();
  return FailedPrecondition((root / "store").native() +
                            " is there (stop the manager, and move it away first)");
}

Status RestoreFile(const std::filesystem::path& path, const std::string& content) {
  const auto there = ReadFile(path, kMaxFileBytes);
  if (there.ok() && *there == content) return OkStatus();  // a restore was cut short
  if (there.ok()) return FailedPrecondition(path.native() + " is there, and is another one");
  if (there.status().code() != StatusCode::kNotFound) return there.status();
  return WriteFileAtomically(path, content, 0600);
}

Status SkipNumbers(kv::Kv& kv) {
  kv::Batch batch;
  for (const char* key : kNumberKeys) {
    const auto value = kv.Get(kv::Family::kMeta, key);
    if (value.status().code() == StatusCode::kNotFound) continue;
    TRY_STATUS(value.status());
    const auto number = ParseDecimal(*value);
    if (!number) return DataLoss("record " + std::string(key));
    batch.Put(kv::Family::kMeta, key, std::to_string(*number + kNumbersSkipped));
  }
  return batch.empty() ? OkStatus() : kv.Write(batch, kv::Sync::kYes);
}

// Records into a new store in `folder`, files below `root`.
Result<BackupSummary> Unpack(const std::filesystem::path& file, const std::filesystem::path& root,
                             const std::filesystem::path& folder) {
  const auto kv = TRY(kv::OpenRocksKv({.directory = folder, .memory_bytes = kRestoreMemoryBytes}));
  kv::Batch batch;
  const BackupSummary summary = TRY(ReadAll(file, [&](const Entry& entry) -> Status {
    if (entry.kind == Kind::kFile) {
      const auto ours = [&](const char* name) { return entry.name == name; };
      if (std::ranges::none_of(kFiles, ours)) {
        return DataLoss("it has a file " + entry.name.substr(0, 100) + ", which no backup has");
      }
      return RestoreFile(root / entry.name, entry.value);
    }
    batch.Put(static_cast<kv::Family>(entry.family), entry.name, entry.value);
    if (batch.changes().size() < kRecordsPerWrite) return OkStatus();
    return kv->Write(std::exchange(batch, {}), kv::Sync::kNo);
  }));
  if (!batch.empty()) TRY_STATUS(kv->Write(batch, kv::Sync::kNo));
  TRY_STATUS(SkipNumbers(*kv));
  return summary;
}

Result<BackupSummary> WritePart(const kv::Kv& kv, const std::filesystem::path& root,
                                const std::filesystem::path& part) {
  Writer out(TRY(OpenFile(part, O_WRONLY | O_CREAT | O_TRUNC, 0600)));
  for (const char* name : kFiles) {
    TRY_STATUS(out.Add(
        {.kind = Kind::kFile, .name = name, .value = TRY(ReadFile(root / name, kMaxFileBytes))}));
  }
  // The numbers that are given next are read last: they must not be of before the jobs.
  for (int family = kv::kFamilies - 1; family >= 0; --family) {
    TRY_STATUS(CopyFamily(kv, static_cast<kv::Family>(family), out));
  }
  return out.Finish();
}

}  // namespace

Result<BackupSummary> WriteBackup(const kv::Kv& kv, const std::filesystem::path& root,
                                  const std::filesystem::path& file) {
  const std::filesystem::path part = file.native() + ".part";
  auto written = WritePart(kv, root, part);
  std::error_code error;
  if (written.ok()) std::filesystem::rename(part, file, error);
  if (error) written = ErrnoStatus(error.value(), "rename " + part.native());
  if (!written.ok()) {
    // It may have taken the last of the disk, which the jobs need.
    std::filesystem::remove(part, error);
    return written;
  }
  TRY_STATUS(SyncDirectory(file.parent_path()));
  return written;
}

Result<BackupSummary> CheckBackup(const std::filesystem::path& file) {
  return ReadAll(file, [](const Entry&) { return OkStatus(); });
}

Result<BackupSummary> RestoreBackup(const std::filesystem::path& file,
                                    const std::filesystem::path& root) {
  TRY_STATUS(CheckUnused(root));
  TRY_STATUS(CheckBackup(file).status());  // before anything is written
  TRY_STATUS(MakeDirectories(root, 0700));
  TRY_STATUS(MakeDirectories(root / "ca", 0700));
  const std::filesystem::path folder = root / "store.restored";
  TRY_STATUS(RemoveTree(folder));  // of a restore that was cut short
  const BackupSummary summary = TRY(Unpack(file, root, folder));
  std::error_code error;
  std::filesystem::rename(folder, root / "store", error);
  if (error) return ErrnoStatus(error.value(), "rename " + folder.native());
  TRY_STATUS(SyncDirectory(root));
  return summary;
}

}  // namespace hearth::manager
