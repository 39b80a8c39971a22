#include "store/blob_files.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <cerrno>
#include <system_error>
#include <vector>

#include "base/units.h"

namespace hearth::store {

namespace {

constexpr mode_t kFileMode = 0600;
constexpr uint32_t kDirectoryMode = 0700;
constexpr size_t kCheckReadBytes = 1 << 20;

}  // namespace

Result<BlobFiles> BlobFiles::Open(const std::filesystem::path& root, Disk& disk) {
  TRY_STATUS(disk.MakeDirectory(root / "blobs", kDirectoryMode));
  TRY_STATUS(disk.MakeDirectory(root / "blobs" / "sha256", kDirectoryMode));
  TRY_STATUS(disk.SyncDirectory(root / "blobs"));
  TRY_STATUS(disk.SyncDirectory(root));
  return BlobFiles(root / "blobs" / "sha256", disk);
}

std::filesystem::path BlobFiles::PathOf(const Digest& digest) const {
  const std::string hex = digest.hex();
  return directory_ / hex.substr(0, 2) / hex;
}

Result<Fd> BlobFiles::Open(const Digest& digest) const {
  return OpenFile(PathOf(digest), O_RDONLY);
}

// Without a sync: a blob that begins does not wait for the disk. SyncName() comes before anything
// is said of it that must be true after a power loss.
Status BlobFiles::MakeParent(const Digest& digest) const {
  std::atomic<Parent>& parent = (*parents_)[digest.bytes()[0]];
  if (parent != Parent::kUnknown) return OkStatus();
  TRY_STATUS(disk_->MakeDirectory(PathOf(digest).parent_path(), kDirectoryMode));
  Parent unknown = Parent::kUnknown;
  (void)parent.compare_exchange_strong(unknown, Parent::kMade);
  return OkStatus();
}

Status BlobFiles::SyncParent(const Digest& digest) const {
  if ((*parents_)[digest.bytes()[0]] == Parent::kSynced) return OkStatus();
  // One sync does for all that were made before it.
  std::vector<std::atomic<Parent>*> made;
  for (auto& parent : *parents_) {
    if (parent == Parent::kMade) made.push_back(&parent);
  }
  TRY_STATUS(disk_->SyncDirectory(directory_));
  for (auto* parent : made) *parent = Parent::kSynced;
  return OkStatus();
}

Result<Fd> BlobFiles::Create(const Digest& digest, uint64_t size_bytes, bool keep) const {
  TRY_STATUS(MakeParent(digest));
  Fd file = TRY(OpenFile(PathOf(digest), O_RDWR | O_CREAT | (keep ? 0 : O_TRUNC), kFileMode));
  const Status resized = disk_->Resize(file.get(), size_bytes);
  if (!resized.ok()) {
    if (!keep) (void)disk_->Unlink(PathOf(digest));
    return resized.Annotate("blob " + digest.ToString());
  }
  return file;
}

Status BlobFiles::Take(const std::filesystem::path& file, const Digest& digest) const {
  TRY_STATUS(MakeParent(digest));
  const std::filesystem::path path = PathOf(digest);
  std::filesystem::path temporary = path;
  temporary += ".new";
  TRY_STATUS(disk_->Unlink(temporary));
  TRY_STATUS(disk_->Link(file, temporary));
  const Status renamed = disk_->Rename(temporary, path);
  if (!renamed.ok()) {
    (void)disk_->Unlink(temporary);
    return renamed;
  }
  return SyncName(digest);
}

Result<WallTime> BlobFiles::LastWritten(const Digest& digest) const {
  const auto path = PathOf(digest);
  struct stat info {};
  if (::stat(path.c_str(), &info) < 0) return ErrnoStatus(errno, "stat " + path.string());
  return FromUnixNanos(info.st_mtim.tv_sec * 1'000'000'000 + info.st_mtim.tv_nsec);
}

Status BlobFiles::Check(const Digest& digest, uint64_t size_bytes, std::stop_token stop) const {
  const Fd file = TRY(Open(digest));
  const uint64_t size = TRY(FileSize(file.get()));
  if (size != size_bytes) {
    return DataLoss("the file has " + std::to_string(size) + " bytes, the record says " +
                    std::to_string(size_bytes));
  }
  Sha256 hash;
  std::vector<char> buffer(kCheckReadBytes);
  for (uint64_t at = 0; at < size;) {
    if (stop.stop_requested()) return Cancelled("verification");
    const size_t got = TRY(ReadAt(file.get(), buffer, at));
    if (got == 0) return DataLoss("the file ends at byte " + std::to_string(at));
    hash.Update(buffer.data(), got);
    at += got;
  }
  const Digest actual = hash.Current();
  if (actual != digest) return DataLoss("its bytes have digest " + actual.ToString());
  return OkStatus();
}

Status BlobFiles::SyncName(const Digest& digest) const {
  TRY_STATUS(SyncParent(digest));
  return disk_->SyncDirectory(PathOf(digest).parent_path());
}

Status BlobFiles::Remove(const Digest& digest) const { return disk_->Unlink(PathOf(digest)); }

Status BlobFiles::CheckSpace(const Digest& digest, uint64_t needed_bytes) const {
  const uint64_t free_bytes = TRY(disk_->FreeBytes(directory_));
  if (needed_bytes <= free_bytes) return OkStatus();
  return ResourceExhausted("blob " + digest.ToString() + " needs " + FormatByteSize(needed_bytes) +
                           " more (" + std::to_string(needed_bytes) + " bytes), but only " +
                           FormatByteSize(free_bytes) + " are free in " + directory_.string() +
                           "; free some space or give the store a larger disk");
}

Status BlobFiles::Walk(
    const std::function<void(const std::filesystem::path&, const Digest*)>& visit) const {
  std::error_code error;
  std::filesystem::directory_iterator parents(directory_, error);
  for (; !error && parents != std::filesystem::directory_iterator(); parents.increment(error)) {
    std::filesystem::directory_iterator files(parents->path(), error);
    for (; !error && files != std::filesystem::directory_iterator(); files.increment(error)) {
      const auto digest = Digest::FromHex(files->path().filename().string());
      const bool ours = digest.ok() && files->path() == PathOf(*digest);
      visit(files->path(), ours ? &*digest : nullptr);
    }
    if (error == std::errc::not_a_directory) {
      error.clear();
      visit(parents->path(), nullptr);
    }
  }
  if (error) return ErrnoStatus(error.value(), "walk " + directory_.string());
  return OkStatus();
}

}  // namespace hearth::store
