// LruMap: a bounded map; what was not asked for longest goes first.
//
// A plain value; guard it with its owner's mutex.
#pragma once

#include <cstddef>
#include <list>
#include <unordered_map>
#include <utility>

namespace hearth {

template <typename Key, typename Value>
class LruMap {
 public:
  explicit LruMap(size_t max_entries) : max_entries_(max_entries) {}

  // Null when there is none. It is the latest from now on. Valid until the next change.
  Value* Find(const Key& key) {
    const auto found = places_.find(key);
    if (found == places_.end()) return nullptr;
    entries_.splice(entries_.begin(), entries_, found->second);
    return &found->second->second;
  }
  // Find() that is no use of it.
  const Value* Peek(const Key& key) const {
    const auto found = places_.find(key);
    return found == places_.end() ? nullptr : &found->second->second;
  }
  // Replaces what was there.
  void Put(const Key& key, Value value) {
    if (Value* there = Find(key)) {
      *there = std::move(value);
      return;
    }
    entries_.emplace_front(key, std::move(value));
    places_[key] = entries_.begin();
    if (entries_.size() <= max_entries_) return;
    places_.erase(entries_.back().first);
    entries_.pop_back();
  }
  void Erase(const Key& key) {
    const auto found = places_.find(key);
    if (found == places_.end()) return;
    entries_.erase(found->second);
    places_.erase(found);
  }

 private:
  using Entries = std::list<std::pair<Key, Value>>;

  const size_t max_entries_;
  Entries entries_;  // latest first
  std::unordered_map<Key, typename Entries::iterator> places_;
};

}  // namespace hearth
