// Pieces: the fixed slices of a blob, and the bitmap of those that are present.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"

namespace hearth {

enum class PieceIndex : uint32_t {};

// `count` pieces from `first` on.
struct PieceRun {
  PieceIndex first{};
  uint32_t count = 0;

  uint32_t begin() const { return static_cast<uint32_t>(first); }
  uint32_t end() const { return begin() + count; }
  friend bool operator==(const PieceRun&, const PieceRun&) = default;
};

inline constexpr uint64_t kMinPieceSizeBytes = 256 * 1024;
inline constexpr uint64_t kMaxPieceSizeBytes = 4 * 1024 * 1024;

// clamp(next power of two of size/1024, 256 KiB, 4 MiB).
uint64_t PieceSizeFor(uint64_t blob_size_bytes);
// Number of pieces; 0 for an empty blob.
uint32_t PieceCount(uint64_t blob_size_bytes, uint64_t piece_size_bytes);

// Which pieces are present. A plain value; guard it with its owner's mutex.
class PieceBitmap {
 public:
  explicit PieceBitmap(uint32_t pieces = 0) : bits_((pieces + 7) / 8), pieces_(pieces) {}
  // kDataLoss when `bytes` is not the form of `pieces` pieces.
  static Result<PieceBitmap> Decode(std::string_view bytes, uint32_t pieces);
  std::string Encode() const;  // one bit per piece, lowest bit first

  uint32_t size() const { return pieces_; }
  bool Has(PieceIndex piece) const;
  void Set(PieceIndex piece);
  void Clear(PieceIndex piece);
  uint32_t Count() const;
  bool All() const { return Count() == pieces_; }
  // Number of present pieces from the start without a gap.
  uint32_t PrefixLength() const;

 private:
  std::vector<uint8_t> bits_;
  uint32_t pieces_;
};

}  // namespace hearth
