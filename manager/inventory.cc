#include "manager/inventory.h"

#include <algorithm>
#include <string>
#include <utility>

namespace hearth::manager {

Status Inventory::Add(NodeId node, std::span<const Digest> blobs) {
  std::vector<uint32_t> added;
  added.reserve(blobs.size());
  auto& held = held_[Number(node)];
  size_t refused = 0;
  for (const Digest& digest : blobs) {
    auto found = numbers_.find(digest);
    if (held.size() + added.size() >= kMaxPerNode ||
        (found == numbers_.end() && numbers_.size() >= kMaxBlobs)) {
      ++refused;
      continue;
    }
    if (found == numbers_.end()) {
      const bool reuse = !unused_.empty();
      const auto number = reuse ? unused_.back() : static_cast<uint32_t>(blobs_.size());
      if (reuse) {
        unused_.pop_back();
      } else {
        blobs_.emplace_back();
      }
      blobs_[number].digest = digest;
      found = numbers_.emplace(digest, number).first;
    }
    auto& holders = blobs_[found->second].holders;
    const auto place = std::ranges::lower_bound(holders, Number(node));
    if (place != holders.end() && *place == Number(node)) continue;
    holders.insert(place, Number(node));
    added.push_back(found->second);
  }
  std::ranges::sort(added);
  std::vector<uint32_t> all;
  all.reserve(held.size() + added.size());
  std::ranges::merge(held, added, std::back_inserter(all));
  held = std::move(all);
  if (held.empty()) held_.erase(Number(node));
  if (refused == 0) return OkStatus();
  return ResourceExhausted("the inventory of node " + std::to_string(Number(node)) + " is full: " +
                           std::to_string(refused) + " blobs are not offered to other nodes");
}

void Inventory::Remove(NodeId node, std::span<const Digest> blobs) {
  const auto held = held_.find(Number(node));
  if (held == held_.end()) return;
  for (const Digest& digest : blobs) {
    const auto found = numbers_.find(digest);
    if (found == numbers_.end()) continue;
    const auto place = std::ranges::lower_bound(held->second, found->second);
    if (place == held->second.end() || *place != found->second) continue;
    held->second.erase(place);
    RemoveHolder(found->second, Number(node));
  }
  if (held->second.empty()) held_.erase(held);
}

void Inventory::RemoveNode(NodeId node) {
  const auto held = held_.extract(Number(node));
  if (held.empty()) return;
  for (const uint32_t blob : held.mapped()) RemoveHolder(blob, Number(node));
}

void Inventory::RemoveHolder(uint32_t number, uint32_t node) {
  Blob& blob = blobs_[number];
  const auto place = std::ranges::lower_bound(blob.holders, node);
  if (place != blob.holders.end() && *place == node) blob.holders.erase(place);
  if (!blob.holders.empty()) return;
  numbers_.erase(blob.digest);
  blob = {};
  unused_.push_back(number);
}

bool Inventory::Holds(NodeId node, const Digest& blob) const {
  return std::ranges::binary_search(Holders(blob), Number(node));
}

std::span<const uint32_t> Inventory::Holders(const Digest& blob) const {
  const auto found = numbers_.find(blob);
  if (found == numbers_.end()) return {};
  return blobs_[found->second].holders;
}

std::vector<Digest> Inventory::BlobsOf(NodeId node) const {
  std::vector<Digest> blobs;
  const auto held = held_.find(Number(node));
  if (held == held_.end()) return blobs;
  for (const uint32_t number : held->second) blobs.push_back(blobs_[number].digest);
  return blobs;
}

size_t Inventory::HeldBy(NodeId node) const {
  const auto held = held_.find(Number(node));
  return held == held_.end() ? 0 : held->second.size();
}

}  // namespace hearth::manager
