// BlobIndex: records of complete blobs and of the pieces of growing ones.
//
// Any thread. A record that cannot be read is kDataLoss.
#pragma once

#include <atomic>
#include <functional>
#include <string>

#include "base/digest.h"
#include "base/piece.h"
#include "base/status.h"
#include "kv/kv.h"
#include "store/blob_store.h"

namespace hearth::store {

struct PiecesRecord {
  uint64_t size_bytes = 0;
  uint64_t piece_size_bytes = 0;
  PieceBitmap bitmap;
};

class BlobIndex {
 public:
  explicit BlobIndex(kv::Kv& kv) : kv_(kv) {}

  // kNotFound.
  Result<BlobInfo> Find(const Digest& digest) const;
  Status Put(const BlobInfo& info);
  // The blob is complete: its record appears, that of its pieces goes. On disk when it returns.
  Status PutComplete(const BlobInfo& info);
  using Visit = std::function<bool(const std::string& key, const Result<BlobInfo>& info)>;
  // Complete blobs in digest order, those that cannot be read too (`info` has the error then).
  Status Scan(const Visit& visit) const { return ScanAfter("", visit); }
  Status ScanAfter(const std::string& key, const Visit& visit) const;

  // kNotFound.
  Result<PiecesRecord> FindPieces(const Digest& digest) const;
  // Before a file is made under a blob's name no earlier record of it may come back after a power
  // loss: syncs where something was removed since the last sync.
  Status PutPieces(const Digest& digest, const PiecesRecord& pieces);
  Status ScanPieces(const std::function<bool(const std::string& key,
                                             const Result<PiecesRecord>& pieces)>& visit) const;

  // Both records, whichever there are.
  Status Remove(const Digest& digest);
  // Records by key as Scan() gave it.
  Status RemoveKeys(const std::vector<std::string>& blobs, const std::vector<std::string>& pieces);

 private:
  kv::Kv& kv_;
  std::atomic<uint64_t> removals_ = 0;         // so far
  std::atomic<uint64_t> synced_removals_ = 0;  // of them, known to be on disk
};

}  // namespace hearth::store
