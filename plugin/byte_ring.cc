#include "plugin/byte_ring.h"

#include <algorithm>

namespace hearth::plugin {

ByteRing::ByteRing(size_t buffers)
    : slots_(std::max<size_t>(buffers, 2)), worth_a_wake_(std::max<size_t>(slots_.size() / 4, 1)) {}

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

// A consumer that sleeps meanwhile has read all: what it is not woken for here is fewer buffers
// than that, and the producer, who still works, publishes more, pushes or finishes.
void ByteRing::Publish(size_t size_bytes) {
  MutexLock lock(mutex_);
  CHECK(free() > 0 && size_bytes > 0 && size_bytes <= kBufferBytes);
  slots_[published_ % slots_.size()].size_bytes = size_bytes;
  ++published_;
  if (published_ - returned_ >= worth_a_wake_) readable_.NotifyOne();
}

void ByteRing::Push() {
  MutexLock lock(mutex_);
  if (published_ > returned_) readable_.NotifyOne();
}

void ByteRing::Finish(Status status) {
  MutexLock lock(mutex_);
  finished_ = true;
  final_ = std::move(status);
  readable_.NotifyOne();
}

// A producer that sleeps meanwhile has filled all: the consumer has more to return before it can
// sleep itself.
Result<std::span<const char>> ByteRing::Next() {
  MutexLock lock(mutex_);
  if (consumer_holds_) {
    consumer_holds_ = false;
    ++returned_;
    if (free() >= worth_a_wake_) freed_.NotifyOne();
  }
  while (published_ == returned_ && !finished_ && cancelled_.ok()) readable_.Wait(mutex_);
  if (!cancelled_.ok()) return cancelled_;
  if (published_ == returned_) {
    if (!final_.ok()) return final_;
    return std::span<const char>();
  }
  consumer_holds_ = true;
  const Slot& slot = slots_[returned_ % slots_.size()];
  return std::span<const char>(slot.bytes.get(), slot.size_bytes);
}

void ByteRing::Cancel(Status status) {
  MutexLock lock(mutex_);
  if (cancelled_.ok()) cancelled_ = std::move(status);
  freed_.NotifyAll();
  readable_.NotifyAll();
}

}  // namespace hearth::plugin
