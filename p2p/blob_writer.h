// BlobWriter: writes a growing blob front to back; what is there already is left out by the blob.
//
// Tells an error of our own store apart from one of the source: after the former no other source
// helps. One thread at a time; the blob must outlive it.
#pragma once

#include <cstdint>
#include <string_view>

#include "base/status.h"
#include "store/blob.h"

namespace hearth::p2p {

class BlobWriter {
 public:
  // Begins at the first byte that is missing.
  explicit BlobWriter(store::Blob& blob) : blob_(blob), offset_(blob.FirstMissing()) {}

  const Digest& digest() const { return blob_.digest(); }
  uint64_t size_bytes() const { return blob_.size_bytes(); }
  // Of the byte that Append() wants next; size_bytes() at the end.
  uint64_t offset() const { return offset_; }

  // kDataLoss: the source has more bytes than the blob; other errors are store_error().
  Status Append(std::string_view data);
  // The first error of the store; OK where there was none.
  const Status& store_error() const { return store_error_; }

 private:
  store::Blob& blob_;
  uint64_t offset_;
  Status store_error_;
};

}  // namespace hearth::p2p
