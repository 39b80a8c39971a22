// PrivateBlobs: which blobs came from a registry that is not shared between nodes. Kept in the
// index, so that a restart forgets nothing. Any thread.
#pragma once

#include "base/digest.h"
#include "kv/kv.h"

namespace hearth::p2p {

class PrivateBlobs {
 public:
  explicit PrivateBlobs(kv::Kv& kv) : kv_(kv) {}

  void Add(const Digest& blob);
  // True also where the index cannot be read.
  bool Contains(const Digest& blob) const;

 private:
  kv::Kv& kv_;
};

}  // namespace hearth::p2p
