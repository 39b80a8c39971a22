#include "plugin/blob_check.h"

#include <sys/stat.h>

#include <algorithm>
#include <vector>

#include "base/log.h"

namespace hearth::plugin {

namespace {

constexpr size_t kReadBytes = 1 << 20;

Result<Digest> HashOf(store::Blob& blob, const std::stop_token& stop) {
  Sha256 hash;
  std::vector<char> buffer(kReadBytes);
  for (uint64_t offset = 0; offset < blob.size_bytes();) {
    if (stop.stop_requested()) return Cancelled("the check was cancelled");
    const size_t read = TRY(blob.Read(offset, buffer, stop));
    if (read == 0) break;
    hash.Update(buffer.data(), read);
    offset += read;
  }
  return hash.Current();
}

// OK: as it was committed. kDataLoss: what is wrong with it.
Status Check(store::BlobStore& blobs, const store::BlobInfo& info, const std::stop_token& stop) {
  const auto blob = TRY(blobs.Open(info.digest));
  struct stat file {};
  if (::fstat(blob->file()->get(), &file) != 0) return ErrnoStatus(errno, "look at the file");
  if (file.st_nlink == 0) return DataLoss("its file is gone");
  if (static_cast<uint64_t>(file.st_size) != info.size_bytes) {
    return DataLoss("its file has " + std::to_string(file.st_size) + " bytes, not " +
                    std::to_string(info.size_bytes));
  }
  const store::FileTimes times = TRY(store::FileTimesOf(*blob->file()));
  if (times == info.file) return OkStatus();
  const Digest is = TRY(HashOf(*blob, stop));
  if (is != info.digest) return DataLoss("its bytes hash to " + is.ToString());
  // A hard link was made or went, say. Of the times before it was read, so that a write meanwhile
  // is seen the next time.
  return blobs.NoteRight(info.digest, times);
}

}  // namespace

Result<bool> DropIfDamaged(store::BlobStore& blobs, const Digest& digest, std::stop_token stop) {
  const auto info = blobs.Info(digest);
  if (info.status().code() == StatusCode::kNotFound) return false;
  TRY_STATUS(info.status());
  const Status checked = Check(blobs, *info, stop);
  if (checked.ok() || checked.code() == StatusCode::kNotFound) return false;
  if (checked.code() != StatusCode::kDataLoss) return checked;
  LOG_ERROR("a blob was changed behind our back: it is fetched anew",
            {{"blob", digest.ToString()}, {"error", checked}});
  TRY_STATUS(blobs.Remove(digest));
  return true;
}

}  // namespace hearth::plugin
