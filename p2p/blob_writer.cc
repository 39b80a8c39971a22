#include "p2p/blob_writer.h"

#include <algorithm>
#include <string>

#include "base/piece.h"

namespace hearth::p2p {

Status BlobWriter::Append(std::string_view data) {
  if (data.size() > blob_.size_bytes() - offset_) {
    return DataLoss("blob " + blob_.digest().ToString() + ": more than the " +
                    std::to_string(blob_.size_bytes()) + " bytes that its manifest names");
  }
  const uint64_t piece_size_bytes = PieceSizeFor(blob_.size_bytes());
  while (!data.empty()) {
    size_t step;
    if (const uint64_t present = blob_.Available(offset_); present > 0) {
      step = std::min<uint64_t>(present, data.size());
    } else {
      const uint64_t left_in_piece = piece_size_bytes - offset_ % piece_size_bytes;
      step = std::min<uint64_t>(left_in_piece, data.size());
      store_error_ = blob_.Write(offset_, {data.data(), step});
      if (!store_error_.ok()) return store_error_;
    }
    offset_ += step;
    data.remove_prefix(step);
  }
  return OkStatus();
}

}  // namespace hearth::p2p
