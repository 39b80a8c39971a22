// OpenBlobs: complete blobs with an open file; the least recently used go first.
//
// A plain value; guard it with its owner's mutex.
#pragma once

#include <list>
#include <memory>
#include <unordered_map>
#include <utility>

#include "base/digest.h"
#include "store/blob.h"

namespace hearth::store {

class OpenBlobs {
 public:
  static constexpr size_t kMaxOpen = 256;

  // Null when there is none.
  std::shared_ptr<Blob> Find(const Digest& digest) {
    const auto found = places_.find(digest);
    if (found == places_.end()) return nullptr;
    order_.splice(order_.begin(), order_, found->second);
    return *found->second;
  }

  void Add(std::shared_ptr<Blob> blob) {
    const Digest digest = blob->digest();
    Remove(digest);
    order_.push_front(std::move(blob));
    places_[digest] = order_.begin();
    if (order_.size() > kMaxOpen) Remove(Digest(order_.back()->digest()));
  }

  void Remove(const Digest& digest) {
    const auto found = places_.find(digest);
    if (found == places_.end()) return;
    order_.erase(found->second);
    places_.erase(found);
  }

 private:
  std::list<std::shared_ptr<Blob>> order_;  // most recently used first
  std::unordered_map<Digest, std::list<std::shared_ptr<Blob>>::iterator> places_;
};

}  // namespace hearth::store
