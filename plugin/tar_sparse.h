// SparseMap: where the bytes of a sparse file in a tar lie, for GNU's pax formats 0.0, 0.1 and 1.0.
//
// The old GNU format (type "S") is none of containerd's. Pure; any thread.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "plugin/tar_pax.h"

namespace hearth::plugin {

// One stretch of data; what lies between two is a hole.
struct SparseExtent {
  int64_t offset_bytes = 0;
  int64_t length_bytes = 0;
};

enum class SparseFormat : uint8_t { kNone, kInHeader, kInBody };

// Whether `records` say that the file is sparse, and where its map is: in them, or at the start of
// the body (1.0). An unknown version is kNone: the file is then what its body is.
SparseFormat SparseFormatOf(const PaxRecords& records);

// The map of format 0.1. kDataLoss for one that is malformed.
Result<std::vector<SparseExtent>> ParseSparseMapInHeader(const PaxRecords& records);

// The map of format 1.0 as it comes, block by block.
class SparseMapInBody {
 public:
  // False when the map goes on in the next block. kDataLoss when malformed or too long.
  Result<bool> AddBlock(std::string_view block);
  std::vector<SparseExtent> Take() { return std::move(extents_); }

 private:
  Status AddNumber(std::string_view token);

  std::string token_;  // begun, not ended yet
  uint64_t seen_bytes_ = 0;
  std::optional<int64_t> count_;
  std::optional<int64_t> offset_;
  std::vector<SparseExtent> extents_;
};

// In order, apart, within `size_bytes`, and with `body_bytes` of data in all. kDataLoss otherwise.
Status CheckSparseExtents(const std::vector<SparseExtent>& extents, int64_t size_bytes,
                          int64_t body_bytes);

}  // namespace hearth::plugin
