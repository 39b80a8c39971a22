#include "store/blob_sweep.h"

#include <string>
#include <unordered_set>
#include <vector>

#include "base/log.h"

namespace hearth::store {

namespace {

Result<uint64_t> SizeOnDisk(const BlobFiles& files, const std::string& key) {
  const Fd file = TRY(files.Open(TRY(Digest::Parse(key))));
  return FileSize(file.get());
}

// Why the file does not bear out its record; OK when it does.
Status CheckFile(const BlobFiles& files, const std::string& key, uint64_t size_bytes) {
  const uint64_t actual = TRY(SizeOnDisk(files, key));
  if (actual == size_bytes) return OkStatus();
  return DataLoss("its file has " + std::to_string(actual) + " bytes, its record says " +
                  std::to_string(size_bytes));
}

// A record goes only when the file is seen to be missing or wrong, not when the disk errs.
bool IsGone(const Status& status) {
  return status.code() == StatusCode::kNotFound || status.code() == StatusCode::kDataLoss ||
         status.code() == StatusCode::kInvalidArgument;
}

}  // namespace

Status SweepBlobs(BlobIndex& index, const BlobFiles& files) {
  std::unordered_set<std::string> known;
  std::vector<std::string> bad_blobs;
  std::vector<std::string> bad_pieces;
  Status failed;
  const auto judge = [&](const std::string& key, const Status& status,
                         std::vector<std::string>& bad) {
    if (status.ok()) {
      known.insert(key);
    } else if (IsGone(status)) {
      LOG_WARNING("record dropped", {{"key", key}, {"reason", status}});
      bad.push_back(key);
    } else {
      failed = status;
    }
    return failed.ok();
  };
  TRY_STATUS(index.Scan([&](const std::string& key, const Result<BlobInfo>& info) {
    return judge(key, info.ok() ? CheckFile(files, key, info->size_bytes) : info.status(),
                 bad_blobs);
  }));
  TRY_STATUS(failed);
  TRY_STATUS(index.ScanPieces([&](const std::string& key, const Result<PiecesRecord>& pieces) {
    if (known.contains(key)) return judge(key, DataLoss("the blob is complete"), bad_pieces);
    return judge(key, pieces.ok() ? CheckFile(files, key, pieces->size_bytes) : pieces.status(),
                 bad_pieces);
  }));
  TRY_STATUS(failed);
  TRY_STATUS(index.RemoveKeys(bad_blobs, bad_pieces));
  std::vector<std::filesystem::path> orphans;
  TRY_STATUS(files.Walk([&](const std::filesystem::path& path, const Digest* digest) {
    if (digest == nullptr || !known.contains(digest->ToString())) orphans.push_back(path);
  }));
  for (const auto& path : orphans) {
    LOG_INFO("file without a record removed", {{"path", path.string()}});
    TRY_STATUS(files.RemoveStray(path));
  }
  return OkStatus();
}

}  // namespace hearth::store
