#include "plugin/tar_sparse.h"

#include <utility>

namespace hearth::plugin {
namespace {

constexpr uint64_t kMapLimitBytes = 1u << 20;  // held in memory
constexpr size_t kExtentLimit = 1u << 20;

Status Malformed() { return DataLoss("the map of a sparse file is malformed"); }

}  // namespace

SparseFormat SparseFormatOf(const PaxRecords& records) {
  const std::string_view major = PaxValue(records, "GNU.sparse.major");
  const std::string_view minor = PaxValue(records, "GNU.sparse.minor");
  if (major == "0" && (minor == "0" || minor == "1")) return SparseFormat::kInHeader;
  if (major == "1" && minor == "0") return SparseFormat::kInBody;
  if (!major.empty() || !minor.empty()) return SparseFormat::kNone;
  const bool has_map = !PaxValue(records, "GNU.sparse.map").empty();
  return has_map ? SparseFormat::kInHeader : SparseFormat::kNone;
}

Result<std::vector<SparseExtent>> ParseSparseMapInHeader(const PaxRecords& records) {
  const auto count = ParseDecimal(PaxValue(records, "GNU.sparse.numblocks"));
  if (!count || *count < 0) return Malformed();
  std::string_view left = PaxValue(records, "GNU.sparse.map");
  std::vector<int64_t> numbers;
  while (!left.empty()) {
    const size_t comma = left.find(',');
    const auto number = ParseDecimal(left.substr(0, comma));
    if (!number) return Malformed();
    numbers.push_back(*number);
    if (comma == left.npos) break;
    left.remove_prefix(comma + 1);
    if (left.empty()) return Malformed();  // ends in a comma
  }
  if (numbers.size() % 2 != 0 || static_cast<int64_t>(numbers.size() / 2) != *count) {
    return Malformed();
  }
  std::vector<SparseExtent> extents;
  for (size_t i = 0; i < numbers.size(); i += 2) extents.push_back({numbers[i], numbers[i + 1]});
  return extents;
}

Result<bool> SparseMapInBody::AddBlock(std::string_view block) {
  seen_bytes_ += block.size();
  if (seen_bytes_ > kMapLimitBytes) return DataLoss("the map of a sparse file is above 1 MiB");
  const auto complete = [&] {
    return count_ && !offset_ && static_cast<int64_t>(extents_.size()) == *count_;
  };
  while (!complete()) {
    const size_t newline = block.find('\n');
    token_ += block.substr(0, newline);
    if (newline == block.npos) return false;
    block.remove_prefix(newline + 1);
    TRY_STATUS(AddNumber(std::exchange(token_, {})));
  }
  return true;
}

Status SparseMapInBody::AddNumber(std::string_view token) {
  const auto number = ParseDecimal(token);
  if (!number) return Malformed();
  if (!count_) {
    if (*number < 0) return Malformed();
    count_ = number;
  } else if (!offset_) {
    offset_ = number;
  } else {
    if (extents_.size() >= kExtentLimit) return Malformed();
    extents_.push_back({*std::exchange(offset_, std::nullopt), *number});
  }
  return OkStatus();
}

Status CheckSparseExtents(const std::vector<SparseExtent>& extents, int64_t size_bytes,
                          int64_t body_bytes) {
  int64_t end = 0;
  int64_t data = 0;
  for (const SparseExtent& extent : extents) {
    const bool valid = extent.offset_bytes >= end && extent.length_bytes >= 0 &&
                       extent.offset_bytes <= size_bytes &&
                       extent.length_bytes <= size_bytes - extent.offset_bytes;
    if (!valid) return DataLoss("the extents of a sparse file overlap or lie outside of it");
    end = extent.offset_bytes + extent.length_bytes;
    data += extent.length_bytes;  // at most size_bytes: they do not overlap
  }
  if (size_bytes < 0 || data != body_bytes) {
    return DataLoss("a sparse file has other data than its map says");
  }
  return OkStatus();
}

}  // namespace hearth::plugin
