#include "base/piece.h"

#include <algorithm>
#include <bit>

namespace hearth {

uint64_t PieceSizeFor(uint64_t blob_size_bytes) {
  const uint64_t wanted = std::bit_ceil(std::max<uint64_t>(blob_size_bytes / 1024, 1));
  return std::clamp(wanted, kMinPieceSizeBytes, kMaxPieceSizeBytes);
}

uint32_t PieceCount(uint64_t blob_size_bytes, uint64_t piece_size_bytes) {
  CHECK(piece_size_bytes > 0);
  return static_cast<uint32_t>((blob_size_bytes + piece_size_bytes - 1) / piece_size_bytes);
}

Result<PieceBitmap> PieceBitmap::Decode(std::string_view bytes, uint32_t pieces) {
  PieceBitmap bitmap(pieces);
  if (bytes.size() != bitmap.bits_.size()) return DataLoss("piece bitmap has a wrong length");
  std::copy(bytes.begin(), bytes.end(), bitmap.bits_.begin());
  if (pieces % 8 != 0 && (bitmap.bits_.back() >> (pieces % 8)) != 0) {
    return DataLoss("piece bitmap has bits beyond its last piece");
  }
  return bitmap;
}

std::string PieceBitmap::Encode() const { return {bits_.begin(), bits_.end()}; }

bool PieceBitmap::Has(PieceIndex piece) const {
  const auto index = static_cast<uint32_t>(piece);
  CHECK(index < pieces_);
  return (bits_[index / 8] >> (index % 8) & 1) != 0;
}

void PieceBitmap::Set(PieceIndex piece) {
  const auto index = static_cast<uint32_t>(piece);
  CHECK(index < pieces_);
  bits_[index / 8] = static_cast<uint8_t>(bits_[index / 8] | 1U << (index % 8));
}

void PieceBitmap::Clear(PieceIndex piece) {
  const auto index = static_cast<uint32_t>(piece);
  CHECK(index < pieces_);
  bits_[index / 8] = static_cast<uint8_t>(bits_[index / 8] & ~(1U << (index % 8)));
}

uint32_t PieceBitmap::Count() const {
  uint32_t count = 0;
  for (const uint8_t byte : bits_) count += static_cast<uint32_t>(std::popcount(byte));
  return count;
}

uint32_t PieceBitmap::PrefixLength() const {
  uint32_t length = 0;
  while (length < pieces_ && Has(PieceIndex{length})) ++length;
  return length;
}

}  // namespace hearth
