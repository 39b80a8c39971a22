// BlobWriter: writes a growing blob front to back; what is there already is left out by the blob.
//
// Tells an error of our own store apart from one of the source: after the former no other source
// helps. One thread at a time; the blob must outlive it.
#pragma once

#include <cstdint>
#include <functional>
#include <string_view>
#include <utility>

#include "base/clock.h"
#include "base/status.h"
#include "base/timer.h"
#include "p2p/limiter.h"
#include "store/blob.h"

namespace hearth::p2p {

// Who says how fast, and who calls back then. Both outlive the writer.
struct Pace {
  Limiter* limiter = nullptr;
  TimerQueue* timers = nullptr;
};

class BlobWriter {
 public:
  // Begins at the first byte that is missing.
  // Bytes are charged as the origin's to `pace`, where that is set.
  // `received` hears of each byte that was written.
  explicit BlobWriter(store::Blob& blob, Pace pace = {},
                      std::function<void(uint64_t bytes)> received = nullptr)
      : blob_(blob), pace_(pace), received_(std::move(received)), offset_(blob.FirstMissing()) {}

  const Digest& digest() const { return blob_.digest(); }
  uint64_t size_bytes() const { return blob_.size_bytes(); }
  // Of the byte that Append() wants next; size_bytes() at the end.
  uint64_t offset() const { return offset_; }

  // See Blob::MayWrite(); also false until what came so far is paid for.
  bool Ready(std::function<void()> resume);
  // kDataLoss: the source has more bytes than the blob; other errors are store_error().
  Status Append(std::string_view data);
  // The first error of the store; OK where there was none.
  const Status& store_error() const { return store_error_; }

 private:
  store::Blob& blob_;
  const Pace pace_;
  const std::function<void(uint64_t bytes)> received_;
  SteadyTime free_at_{};
  uint64_t offset_;
  Status store_error_;
};

}  // namespace hearth::p2p
