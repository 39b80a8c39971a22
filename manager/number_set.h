// NumberSet and NumberList: sets of small numbers in little memory, for millions of them.
//
// Plain values.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace hearth::manager {

// One that is looked up and changed number by number: a sorted list, or bits where those are fewer.
class NumberSet {
 public:
  bool Insert(uint32_t number);  // false: it was there
  bool Erase(uint32_t number);   // false: it was not
  bool Contains(uint32_t number) const;
  size_t size() const { return size_; }
  bool empty() const { return size_ == 0; }
  std::vector<uint32_t> List() const;  // sorted

 private:
  void ToBits();
  void ToList();

  std::vector<uint32_t> data_;  // the numbers, sorted; or a bit for each
  uint32_t size_ = 0;
  bool bits_ = false;
};

// One that is read and replaced as a whole: the gaps between its numbers, most of them in a byte.
class NumberList {
 public:
  NumberList() = default;
  explicit NumberList(std::span<const uint32_t> sorted);
  size_t size() const { return size_; }
  std::vector<uint32_t> List() const;  // sorted

 private:
  std::string gaps_;
  uint32_t size_ = 0;
};

}  // namespace hearth::manager
