// Pieces: which bytes of a growing blob are there, to the byte within pieces that are arriving.
//
// A plain value; guard it with its owner's mutex. Each byte is written once: Begin() hands out a
// range that is missing and holds its piece until End().
#pragma once

#include <cstdint>
#include <map>

#include "base/piece.h"
#include "base/status.h"

namespace hearth::store {

class Pieces {
 public:
  // Pieces that may be arriving at the same time.
  static constexpr size_t kMaxArriving = 256;

  // `present` has one bit for each piece of `size_bytes`.
  Pieces(uint64_t size_bytes, uint64_t piece_size_bytes, PieceBitmap present);

  uint64_t size_bytes() const { return size_bytes_; }
  uint64_t piece_size_bytes() const { return piece_size_bytes_; }
  // Whole pieces only.
  const PieceBitmap& bitmap() const { return bitmap_; }
  uint64_t PresentBytes() const { return present_bytes_; }
  // Where the bytes that are there from the start end.
  uint64_t FirstMissing() const { return prefix_bytes_; }
  bool All() const { return prefix_bytes_ == size_bytes_; }
  // Bytes there from `offset` on without a gap; may stop counting at `enough_bytes`.
  uint64_t Available(uint64_t offset_bytes, uint64_t enough_bytes) const;

  // Of `size_bytes` at `offset_bytes`, within the first piece that they touch: `skip` bytes are
  // there already, then `length` bytes are to be written. `busy`: another write holds the piece.
  struct Range {
    uint64_t skip = 0;
    uint64_t length = 0;
    bool busy = false;
  };
  // kOutOfRange: the bytes before it in that piece are missing. kResourceExhausted: too many
  // pieces are arriving. The range must lie within the blob. A `length` > 0 wants an End().
  Result<Range> Begin(uint64_t offset_bytes, uint64_t size_bytes);
  // `length` bytes at `offset_bytes` are written now (0 = it failed).
  void End(uint64_t offset_bytes, uint64_t length);

 private:
  struct Arriving {
    uint64_t bytes = 0;
    bool held = false;
  };
  uint64_t PieceEnd(uint32_t piece) const;
  void MovePrefix();

  uint64_t size_bytes_;
  uint64_t piece_size_bytes_;
  PieceBitmap bitmap_;
  std::map<uint32_t, Arriving> arriving_;
  uint64_t present_bytes_ = 0;
  uint64_t prefix_bytes_ = 0;
};

}  // namespace hearth::store
