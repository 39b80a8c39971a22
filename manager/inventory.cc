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
    if (blobs_[found->second].holders.Insert(Number(node))) added.push_back(found->second);
  }
  std::ranges::sort(added);
  std::vector<uint32_t> all;
  all.reserve(held.size() + added.size());
  std::ranges::merge(held.List(), added, std::back_inserter(all));
  held = NumberList(all);
  if (held.size() == 0) held_.erase(Number(node));
  if (refused == 0) return OkStatus();
  return ResourceExhausted("the inventory of node " + std::to_string(Number(node)) + " is full: " +
                           std::to_string(refused) + " blobs are not offered to other nodes");
}

void Inventory::Remove(NodeId node, std::span<const Digest> blobs) {
  const auto held = held_.find(Number(node));
  if (held == held_.end()) return;
  std::vector<uint32_t> removed;
  for (const Digest& digest : blobs) {
    const auto found = numbers_.find(digest);
    if (found == numbers_.end() || !Holds(node, digest)) continue;
    removed.push_back(found->second);
    RemoveHolder(found->second, Number(node));
  }
  std::ranges::sort(removed);
  std::vector<uint32_t> left;
  std::ranges::set_difference(held->second.List(), removed, std::back_inserter(left));
  held->second = NumberList(left);
  if (left.empty()) held_.erase(held);
}

void Inventory::RemoveNode(NodeId node) {
  const auto held = held_.extract(Number(node));
  if (held.empty()) return;
  for (const uint32_t blob : held.mapped().List()) RemoveHolder(blob, Number(node));
}

void Inventory::RemoveHolder(uint32_t number, uint32_t node) {
  Blob& blob = blobs_[number];
  blob.holders.Erase(node);
  if (!blob.holders.empty()) return;
  numbers_.erase(blob.digest);
  blob = {};
  unused_.push_back(number);
}

bool Inventory::Holds(NodeId node, const Digest& blob) const {
  const auto found = numbers_.find(blob);
  return found != numbers_.end() && blobs_[found->second].holders.Contains(Number(node));
}

std::vector<uint32_t> Inventory::Holders(const Digest& blob) const {
  const auto found = numbers_.find(blob);
  if (found == numbers_.end()) return {};
  return blobs_[found->second].holders.List();
}

std::vector<Digest> Inventory::BlobsOf(NodeId node) const {
  std::vector<Digest> blobs;
  const auto held = held_.find(Number(node));
  if (held == held_.end()) return blobs;
  for (const uint32_t number : held->second.List()) blobs.push_back(blobs_[number].digest);
  return blobs;
}

size_t Inventory::HeldBy(NodeId node) const {
  const auto held = held_.find(Number(node));
  return held == held_.end() ? 0 : held->second.size();
}

}  // namespace hearth::manager
