#include "manager/number_set.h"

#include <algorithm>
#include <bit>

namespace hearth::manager {

namespace {

constexpr uint32_t kWordBits = 32;
// Bits become a list again when they take so many times a list's memory.
constexpr size_t kSparse = 4;

}  // namespace

bool NumberSet::Contains(uint32_t number) const {
  if (!bits_) return std::ranges::binary_search(data_, number);
  const size_t word = number / kWordBits;
  return word < data_.size() && (data_[word] >> (number % kWordBits) & 1) != 0;
}

bool NumberSet::Insert(uint32_t number) {
  if (bits_ && number / kWordBits >= kSparse * (size_ + 1)) ToList();
  if (bits_) {
    const size_t word = number / kWordBits;
    if (word >= data_.size()) data_.resize(word + 1);
    const uint32_t bit = uint32_t{1} << (number % kWordBits);
    if ((data_[word] & bit) != 0) return false;
    data_[word] |= bit;
    ++size_;
    return true;
  }
  const auto place = std::ranges::lower_bound(data_, number);
  if (place != data_.end() && *place == number) return false;
  data_.insert(place, number);
  ++size_;
  if (data_.back() / kWordBits + 1 < size_) ToBits();
  return true;
}

bool NumberSet::Erase(uint32_t number) {
  if (!Contains(number)) return false;
  --size_;
  if (!bits_) {
    data_.erase(std::ranges::lower_bound(data_, number));
    return true;
  }
  data_[number / kWordBits] &= ~(uint32_t{1} << (number % kWordBits));
  if (data_.size() > kSparse * (size_ + 1)) ToList();
  return true;
}

std::vector<uint32_t> NumberSet::List() const {
  if (!bits_) return data_;
  std::vector<uint32_t> list;
  list.reserve(size_);
  for (size_t word = 0; word < data_.size(); ++word) {
    for (uint32_t left = data_[word]; left != 0; left &= left - 1) {
      list.push_back(static_cast<uint32_t>(word) * kWordBits +
                     static_cast<uint32_t>(std::countr_zero(left)));
    }
  }
  return list;
}

void NumberSet::ToBits() {
  std::vector<uint32_t> words(data_.back() / kWordBits + 1);
  for (const uint32_t number : data_) {
    words[number / kWordBits] |= uint32_t{1} << (number % kWordBits);
  }
  data_ = std::move(words);
  bits_ = true;
}

void NumberSet::ToList() {
  data_ = List();
  bits_ = false;
}

NumberList::NumberList(std::span<const uint32_t> sorted)
    : size_(static_cast<uint32_t>(sorted.size())) {
  uint32_t before = 0;
  for (const uint32_t number : sorted) {
    uint32_t gap = number - before;
    before = number;
    // Seven bits to a byte, the lowest first; the highest bit says that more follow.
    for (; gap >= 0x80; gap >>= 7) gaps_.push_back(static_cast<char>(gap | 0x80));
    gaps_.push_back(static_cast<char>(gap));
  }
  gaps_.shrink_to_fit();
}

std::vector<uint32_t> NumberList::List() const {
  std::vector<uint32_t> list;
  list.reserve(size_);
  uint32_t number = 0;
  uint32_t gap = 0;
  int shift = 0;
  for (const char c : gaps_) {
    const auto byte = static_cast<unsigned char>(c);
    gap |= uint32_t{byte & 0x7fu} << shift;
    shift += 7;
    if ((byte & 0x80) != 0) continue;
    number += gap;
    list.push_back(number);
    gap = 0;
    shift = 0;
  }
  return list;
}

}  // namespace hearth::manager
