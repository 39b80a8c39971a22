#include "plugin/file_body.h"

#include <algorithm>
#include <atomic>
#include <utility>

namespace hearth::plugin {
// One wait; the file and the timer both hold it, and the first of them answers.
struct FileBody::Wait {
  std::atomic<bool> answered = false;
  std::function<void(Result<net::BodyChunk>)> ready;
  std::atomic<TimerQueue::Id> timer = 0;
};

FileBody::FileBody(std::shared_ptr<GrowingFile> file, std::shared_ptr<void> wanted,
                   std::optional<ByteRange> range, TimerQueue& timers,
                   std::chrono::milliseconds stall_timeout)
    : file_(std::move(file)),
      wanted_(std::move(wanted)),
      begun_(file_->state()),
      range_(range),
      timers_(timers),
      stall_timeout_(stall_timeout),
      cursor_bytes_(range ? range->begin_bytes : 0) {}

uint64_t FileBody::SendableEnd(const GrowingFile::Glance& now) const {
  uint64_t end = now.present_bytes;
  const bool judged = begun_.version.digest.has_value() && !now.ended;
  if (judged && begun_.version.size_bytes && end == *begun_.version.size_bytes && end > 0) --end;
  return range_ ? std::min(end, range_->end_bytes) : end;
}

void FileBody::Next(std::function<void(Result<net::BodyChunk>)> ready) {
  const GrowingFile::Glance now = file_->glance();
  const bool whole = now.ended && now.ended->ok();
  if (now.ended && !whole) return ready(*now.ended);
  const uint64_t end = SendableEnd(now);
  if (end > cursor_bytes_) {
    net::BodyChunk chunk;
    chunk.file = begun_.file;
    chunk.offset_bytes = cursor_bytes_;
    chunk.size_bytes = std::min(end - cursor_bytes_, net::BodyChunk::kMaxFileBytes);
    cursor_bytes_ += chunk.size_bytes;
    chunk.last =
        range_ ? cursor_bytes_ == range_->end_bytes : whole && cursor_bytes_ == now.present_bytes;
    return ready(std::move(chunk));
  }
  if (whole || (range_ && cursor_bytes_ == range_->end_bytes)) {
    net::BodyChunk nothing;
    nothing.last = true;
    return ready(std::move(nothing));
  }
  auto wait = std::make_shared<Wait>();
  wait->ready = std::move(ready);
  wait->timer = timers_.At(std::chrono::steady_clock::now() + stall_timeout_, [wait] {
    if (wait->answered.exchange(true)) return;
    std::exchange(wait->ready, nullptr)(Unavailable("no byte of the file arrived for too long"));
  });
  // The last byte may be here, held back: then only the end helps.
  const uint64_t awaited = std::max(cursor_bytes_, now.present_bytes);
  // Weak: what waits in the file must not keep its download wanted after the timer gave up.
  file_->WhenAvailable(awaited, [weak_self = weak_from_this(), wait] {
    if (wait->answered.exchange(true)) return;
    auto next = std::exchange(wait->ready, nullptr);
    const auto self = weak_self.lock();
    if (!self) return next(Cancelled("the body is gone"));
    self->timers_.Cancel(wait->timer);
    self->Next(std::move(next));
  });
}

}  // namespace hearth::plugin
