// Inventory: which node holds which blob entirely, for all blobs of the cluster.
//
// Plain state, part of the Tracker: no I/O, no clock, no lock. Blobs are numbered, so an entry
// costs two to six bytes: its node in the blob's set, its blob in the node's list. It answers for
// digests asked, never lists all.
#pragma once

#include <cstdint>
#include <span>
#include <unordered_map>
#include <vector>

#include "base/digest.h"
#include "base/status.h"
#include "manager/member.h"
#include "manager/number_set.h"

namespace hearth::manager {

class Inventory {
 public:
  static constexpr size_t kMaxBlobs = 1'000'000;
  static constexpr size_t kMaxPerNode = 200'000;

  // kResourceExhausted: some did not fit; the others are kept.
  Status Add(NodeId node, std::span<const Digest> blobs);
  void Remove(NodeId node, std::span<const Digest> blobs);
  void RemoveNode(NodeId node);

  bool Holds(NodeId node, const Digest& blob) const;
  std::vector<uint32_t> Holders(const Digest& blob) const;  // sorted
  size_t blobs() const { return numbers_.size(); }
  size_t HeldBy(NodeId node) const;
  std::vector<Digest> BlobsOf(NodeId node) const;

 private:
  void RemoveHolder(uint32_t blob, uint32_t node);

  struct Blob {
    Digest digest;
    NumberSet holders;
  };
  std::unordered_map<Digest, uint32_t> numbers_;
  std::vector<Blob> blobs_;
  std::vector<uint32_t> unused_;                   // numbers
  std::unordered_map<uint32_t, NumberList> held_;  // by node
};

}  // namespace hearth::manager
