#include "plugin/byte_ring.h"

#include <algorithm>

namespace hearth::plugin {

ByteRing::ByteRing(size_t buffers) : slots_(std::max<size_t>(buffers, 2)) {}

Result<std::span<char>> ByteRing::AcquireForWrite() {
  size_t index = 0;
  {
    MutexLock lock(mutex_);
    while (published_ == slots_.size() && cancelled_.ok()) changed_.Wait(mutex_);
    if (!cancelled_.ok()) return cancelled_;
    index = (head_ + published_) % slots_.size();
  }
  // The slot behind the last published one is the producer's alone.
  Slot& slot = slots_[index];
  if (slot.bytes == nullptr) slot.bytes.reset(new char[kBufferBytes]);
  return std::span<char>(slot.bytes.get(), kBufferBytes);
}

void ByteRing::Publish(size_t size_bytes) {
  MutexLock lock(mutex_);
  CHECK(published_ < slots_.size() && size_bytes > 0 && size_bytes <= kBufferBytes);
  slots_[(head_ + published_) % slots_.size()].size_bytes = size_bytes;
  ++published_;
  changed_.NotifyOne();
}

void ByteRing::Finish(Status status) {
  MutexLock lock(mutex_);
  finished_ = true;
  final_ = std::move(status);
  changed_.NotifyAll();
}

Result<std::span<const char>> ByteRing::Next() {
  MutexLock lock(mutex_);
  if (consumer_holds_) {
    consumer_holds_ = false;
    head_ = (head_ + 1) % slots_.size();
    --published_;
    changed_.NotifyOne();
  }
  while (published_ == 0 && !finished_ && cancelled_.ok()) changed_.Wait(mutex_);
  if (!cancelled_.ok()) return cancelled_;
  if (published_ == 0) {
    if (!final_.ok()) return final_;
    return std::span<const char>();
  }
  consumer_holds_ = true;
  return std::span<const char>(slots_[head_].bytes.get(), slots_[head_].size_bytes);
}

void ByteRing::Cancel(Status status) {
  MutexLock lock(mutex_);
  if (cancelled_.ok()) cancelled_ = std::move(status);
  changed_.NotifyAll();
}

}  // namespace hearth::plugin
