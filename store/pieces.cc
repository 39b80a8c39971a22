#include "store/pieces.h"

#include <algorithm>
#include <utility>

namespace hearth::store {

Pieces::Pieces(uint64_t size_bytes, uint64_t piece_size_bytes, PieceBitmap present)
    : size_bytes_(size_bytes), piece_size_bytes_(piece_size_bytes), bitmap_(std::move(present)) {
  CHECK(bitmap_.size() == PieceCount(size_bytes, piece_size_bytes));
  for (uint32_t piece = 0; piece < bitmap_.size(); ++piece) {
    if (bitmap_.Has(PieceIndex{piece}))
      present_bytes_ += PieceEnd(piece) - piece * piece_size_bytes;
  }
  MovePrefix();
}

uint64_t Pieces::Available(uint64_t offset_bytes, uint64_t enough_bytes) const {
  if (offset_bytes >= size_bytes_) return 0;
  if (offset_bytes < prefix_bytes_) return prefix_bytes_ - offset_bytes;
  uint64_t end = offset_bytes;
  auto piece = static_cast<uint32_t>(offset_bytes / piece_size_bytes_);
  while (piece < bitmap_.size() && bitmap_.Has(PieceIndex{piece})) {
    end = PieceEnd(piece++);
    if (end - offset_bytes >= enough_bytes) return end - offset_bytes;
  }
  if (const auto found = arriving_.find(piece); found != arriving_.end()) {
    end = std::max(end, piece * piece_size_bytes_ + found->second.bytes);
  }
  return end - offset_bytes;
}

Result<Pieces::Range> Pieces::Begin(uint64_t offset_bytes, uint64_t size_bytes) {
  CHECK(size_bytes > 0 && offset_bytes < size_bytes_ && size_bytes <= size_bytes_ - offset_bytes);
  const auto piece = static_cast<uint32_t>(offset_bytes / piece_size_bytes_);
  const uint64_t within = std::min(size_bytes, PieceEnd(piece) - offset_bytes);
  if (bitmap_.Has(PieceIndex{piece})) return Range{.skip = within};
  const auto found = arriving_.find(piece);
  if (found != arriving_.end() && found->second.held) return Range{.busy = true};
  const uint64_t have =
      piece * piece_size_bytes_ + (found == arriving_.end() ? 0 : found->second.bytes);
  if (offset_bytes > have) {
    return OutOfRange("bytes " + std::to_string(have) + " to " + std::to_string(offset_bytes) +
                      " of the piece are missing; within a piece bytes come in order");
  }
  const uint64_t skip = std::min(within, have - offset_bytes);
  if (skip == within) return Range{.skip = skip};
  if (found == arriving_.end() && arriving_.size() >= kMaxArriving) {
    return ResourceExhausted(std::to_string(kMaxArriving) +
                             " pieces are arriving already; finish one first");
  }
  arriving_[piece].held = true;
  return Range{.skip = skip, .length = within - skip};
}

void Pieces::End(uint64_t offset_bytes, uint64_t length) {
  const auto piece = static_cast<uint32_t>(offset_bytes / piece_size_bytes_);
  const auto found = arriving_.find(piece);
  CHECK(found != arriving_.end() && found->second.held);
  Arriving& arriving = found->second;
  arriving.held = false;
  arriving.bytes += length;
  present_bytes_ += length;
  const uint64_t start = piece * piece_size_bytes_;
  if (start + arriving.bytes == PieceEnd(piece)) {
    bitmap_.Set(PieceIndex{piece});
    arriving_.erase(found);
  } else if (arriving.bytes == 0) {
    arriving_.erase(found);
  }
  MovePrefix();
}

uint64_t Pieces::PieceEnd(uint32_t piece) const {
  return std::min((uint64_t{piece} + 1) * piece_size_bytes_, size_bytes_);
}

void Pieces::MovePrefix() {
  auto piece = static_cast<uint32_t>(prefix_bytes_ / piece_size_bytes_);
  while (piece < bitmap_.size() && bitmap_.Has(PieceIndex{piece}))
    prefix_bytes_ = PieceEnd(piece++);
  if (const auto found = arriving_.find(piece); found != arriving_.end()) {
    prefix_bytes_ = std::max(prefix_bytes_, piece * piece_size_bytes_ + found->second.bytes);
  }
}

}  // namespace hearth::store
