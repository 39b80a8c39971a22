#include "store/blob_index.h"

#include <algorithm>
#include <utility>

#include "store/record.pb.h"

namespace hearth::store {

namespace {

using kv::Family;
using kv::Sync;

Result<BlobInfo> Decode(const Digest& digest, std::string_view value) {
  record::Blob stored;
  if (!stored.ParseFromArray(value.data(), static_cast<int>(value.size()))) {
    return DataLoss("the record of blob " + digest.ToString() + " cannot be read");
  }
  BlobInfo info;
  info.digest = digest;
  info.size_bytes = stored.size_bytes();
  info.created = FromUnixNanos(stored.created_ns());
  info.updated = FromUnixNanos(stored.updated_ns());
  info.labels = {stored.labels().begin(), stored.labels().end()};
  info.claimed = stored.claimed();
  info.preheated = stored.preheated();
  info.pinned_until = FromUnixNanos(stored.pinned_until_ns());
  info.last_used = std::max(info.created, FromUnixNanos(stored.last_used_ns()));
  info.file = {FromUnixNanos(stored.file_written_ns()), FromUnixNanos(stored.file_changed_ns())};
  return info;
}

std::string Encode(const BlobInfo& info) {
  record::Blob stored;
  stored.set_size_bytes(info.size_bytes);
  stored.set_created_ns(ToUnixNanos(info.created));
  stored.set_updated_ns(ToUnixNanos(info.updated));
  stored.mutable_labels()->insert(info.labels.begin(), info.labels.end());
  stored.set_claimed(info.claimed);
  stored.set_preheated(info.preheated);
  stored.set_pinned_until_ns(ToUnixNanos(info.pinned_until));
  stored.set_last_used_ns(ToUnixNanos(info.last_used));
  stored.set_file_written_ns(ToUnixNanos(info.file.written));
  stored.set_file_changed_ns(ToUnixNanos(info.file.changed));
  return stored.SerializeAsString();
}

Result<PiecesRecord> DecodePieces(const std::string& key, std::string_view value) {
  record::Pieces stored;
  if (!stored.ParseFromArray(value.data(), static_cast<int>(value.size())) ||
      stored.piece_size_bytes() < kMinPieceSizeBytes ||
      stored.piece_size_bytes() > kMaxPieceSizeBytes) {
    return DataLoss("the record of the pieces of blob " + key + " cannot be read");
  }
  PiecesRecord pieces;
  pieces.size_bytes = stored.size_bytes();
  pieces.piece_size_bytes = stored.piece_size_bytes();
  pieces.bitmap = TRY(PieceBitmap::Decode(
      stored.bitmap(), PieceCount(stored.size_bytes(), stored.piece_size_bytes())));
  return pieces;
}

}  // namespace

Result<BlobInfo> BlobIndex::Find(const Digest& digest) const {
  const std::string key = digest.ToString();
  auto value = kv_.Get(Family::kBlobs, key);
  if (value.status().code() == StatusCode::kNotFound) {
    return NotFound("blob " + key + " is not in the store");
  }
  return Decode(digest, TRY(std::move(value)));
}

Status BlobIndex::Put(const BlobInfo& info) {
  return kv_.Put(Family::kBlobs, info.digest.ToString(), Encode(info), Sync::kNo);
}

Status BlobIndex::PutComplete(const BlobInfo& info) {
  kv::Batch batch;
  batch.Put(Family::kBlobs, info.digest.ToString(), Encode(info));
  batch.Delete(Family::kPieces, info.digest.ToString());
  return kv_.Write(batch, Sync::kYes);
}

Status BlobIndex::ScanAfter(const std::string& after, const Visit& visit) const {
  const auto decode = [&](std::string_view key_view, std::string_view value) {
    const std::string key(key_view);
    const auto digest = Digest::Parse(key);
    return visit(key, digest.ok() ? Decode(*digest, value) : Result<BlobInfo>(digest.status()));
  };
  return kv_.ScanAfter(Family::kBlobs, "", after, decode);
}

Result<PiecesRecord> BlobIndex::FindPieces(const Digest& digest) const {
  const std::string key = digest.ToString();
  return DecodePieces(key, TRY(kv_.Get(Family::kPieces, key)));
}

Status BlobIndex::PutPieces(const Digest& digest, const PiecesRecord& pieces) {
  record::Pieces stored;
  stored.set_size_bytes(pieces.size_bytes);
  stored.set_piece_size_bytes(pieces.piece_size_bytes);
  stored.set_bitmap(pieces.bitmap.Encode());
  const uint64_t removals = removals_;
  const bool sync = synced_removals_ < removals;
  TRY_STATUS(kv_.Put(Family::kPieces, digest.ToString(), stored.SerializeAsString(),
                     sync ? Sync::kYes : Sync::kNo));
  uint64_t known = synced_removals_;
  while (sync && known < removals && !synced_removals_.compare_exchange_weak(known, removals)) {
  }
  return OkStatus();
}

Status BlobIndex::ScanPieces(
    const std::function<bool(const std::string&, const Result<PiecesRecord>&)>& visit) const {
  return kv_.Scan(Family::kPieces, "", [&](std::string_view key_view, std::string_view value) {
    const std::string key(key_view);
    const auto digest = Digest::Parse(key);
    return visit(key,
                 digest.ok() ? DecodePieces(key, value) : Result<PiecesRecord>(digest.status()));
  });
}

Status BlobIndex::Remove(const Digest& digest) {
  kv::Batch batch;
  batch.Delete(Family::kBlobs, digest.ToString());
  batch.Delete(Family::kPieces, digest.ToString());
  const Status status = kv_.Write(batch, Sync::kNo);
  ++removals_;
  return status;
}

Status BlobIndex::RemoveKeys(const std::vector<std::string>& blobs,
                             const std::vector<std::string>& pieces) {
  kv::Batch batch;
  for (const auto& key : blobs) batch.Delete(Family::kBlobs, key);
  for (const auto& key : pieces) batch.Delete(Family::kPieces, key);
  return batch.empty() ? OkStatus() : kv_.Write(batch, Sync::kYes);
}

}  // namespace hearth::store
