#include "plugin/byte_ring.h"

#include <algorithm>

namespace hearth::plugin {

ByteRing::ByteRing(size_t buffers, size_t readers)
    : slots_(std::max<size_t>(buffers, 2)),
      worth_a_wake_(std::max<size_t>(slots_.size() / 4, 1)),
      readers_(readers) {}

size_t ByteRing::free() const {
  uint64_t returned = published_;
  for (const Reader& reader : readers_) returned = std::min(returned, reader.returned);
  return slots_.size() - (published_ - returned);
}

Result<std::span<char>> ByteRing::AcquireForWrite() {
  size_t index = 0;
  {
    MutexLock lock(mutex_);
    while (free() == 0 && cancelled_.ok()) freed_.Wait(mutex_);
    if (!cancelled_.ok()) return cancelled_;
    index = published_ % slots_.size();
  }
  // The slot behind the last published one is the producer's alone.
  Slot& slot = slots_[index];
  if (slot.bytes == nullptr) slot.bytes.reset(new char[kBufferBytes]);
  return std::span<char>(slot.bytes.get(), kBufferBytes);
}

// A reader that sleeps meanwhile has read all before: what it is not woken for here is fewer
// buffers than that, and the producer, who still works, publishes more, pushes or finishes.
void ByteRing::Publish(size_t size_bytes) {
  MutexLock lock(mutex_);
  CHECK(free() > 0 && size_bytes > 0 && size_bytes <= kBufferBytes);
  slots_[published_ % slots_.size()].size_bytes = size_bytes;
  ++published_;
  for (Reader& reader : readers_) {
    if (published_ - reader.returned >= worth_a_wake_) reader.readable.NotifyOne();
  }
}

void ByteRing::Push() {
  MutexLock lock(mutex_);
  for (Reader& reader : readers_) {
    if (published_ > reader.returned) reader.readable.NotifyOne();
  }
}

void ByteRing::Finish(Status status) {
  MutexLock lock(mutex_);
  finished_ = true;
  final_ = std::move(status);
  for (Reader& reader : readers_) reader.readable.NotifyOne();
}

// A producer that sleeps meanwhile has filled all: the slowest reader has more to return before it
// can sleep itself.
Result<std::span<const char>> ByteRing::Next(size_t index) {
  MutexLock lock(mutex_);
  Reader& reader = readers_[index];
  if (reader.holds) {
    reader.holds = false;
    ++reader.returned;
    if (free() >= worth_a_wake_) freed_.NotifyOne();
  }
  while (published_ == reader.returned && !finished_ && cancelled_.ok()) {
    reader.readable.Wait(mutex_);
  }
  if (!cancelled_.ok()) return cancelled_;
  if (published_ == reader.returned) {
    if (!final_.ok()) return final_;
    return std::span<const char>();
  }
  reader.holds = true;
  const Slot& slot = slots_[reader.returned % slots_.size()];
  return std::span<const char>(slot.bytes.get(), slot.size_bytes);
}

void ByteRing::Cancel(Status status) {
  MutexLock lock(mutex_);
  if (cancelled_.ok()) cancelled_ = std::move(status);
  freed_.NotifyOne();
  for (Reader& reader : readers_) reader.readable.NotifyOne();
}

}  // namespace hearth::plugin
