#include "plugin/blob_body.h"

#include <algorithm>
#include <atomic>
#include <string>
#include <utility>

namespace hearth::plugin {
// One wait; the blob and the timer both hold it, and the first of them answers.
struct BlobBody::Wait {
  std::atomic<bool> answered = false;
  std::function<void(Status)> ready;
  std::atomic<TimerQueue::Id> timer = 0;
  SteadyTime give_up;  // OK even without a byte, as long as others arrive
  uint64_t present_bytes = 0;

  void Answer(Status status) {
    if (!answered.exchange(true)) std::exchange(ready, nullptr)(std::move(status));
  }
};

BlobBody::BlobBody(std::shared_ptr<store::Blob> blob, std::shared_ptr<p2p::Fetch> share,
                   ByteRange range, Options options)
    : blob_(std::move(blob)),
      share_(std::move(share)),
      range_(range),
      options_(options),
      cursor_bytes_(range.begin_bytes) {}

uint64_t BlobBody::Sendable() const {
  const store::Blob::State state = blob_->state();
  if (state == store::Blob::State::kFailed) return 0;
  if (state == store::Blob::State::kComplete) return range_.end_bytes - cursor_bytes_;
  const uint64_t there = cursor_bytes_ + blob_->Available(cursor_bytes_);
  const uint64_t end = std::min({there, range_.end_bytes, blob_->size_bytes() - 1});
  return end > cursor_bytes_ ? end - cursor_bytes_ : 0;
}

void BlobBody::WhenReady(std::function<void(Status)> ready) {
  Await(options_.head_timeout, std::move(ready));
}

void BlobBody::Next(std::function<void(Result<net::BodyChunk>)> ready) {
  if (cursor_bytes_ == range_.end_bytes) {
    net::BodyChunk nothing;
    nothing.last = true;
    ready(std::move(nothing));
    return;
  }
  const uint64_t size_bytes = std::min(Sendable(), net::BodyChunk::kMaxFileBytes);
  if (size_bytes == 0) {
    Await(std::chrono::milliseconds::max(),
          [self = shared_from_this(), ready = std::move(ready)](Status status) {
            if (!status.ok()) return ready(std::move(status));
            self->Next(ready);
          });
    return;
  }
  net::BodyChunk chunk;
  chunk.file = blob_->file();
  chunk.offset_bytes = cursor_bytes_;
  chunk.size_bytes = size_bytes;
  cursor_bytes_ += size_bytes;
  chunk.last = cursor_bytes_ == range_.end_bytes;
  ready(std::move(chunk));
}

void BlobBody::Await(std::chrono::milliseconds limit, std::function<void(Status)> ready) {
  if (blob_->state() == store::Blob::State::kFailed) return ready(blob_->failure());
  if (Sendable() > 0 || cursor_bytes_ == range_.end_bytes) return ready(OkStatus());
  auto wait = std::make_shared<Wait>();
  wait->ready = std::move(ready);
  wait->present_bytes = blob_->PresentBytes();
  wait->give_up = limit == std::chrono::milliseconds::max()
                      ? SteadyTime::max()
                      : std::chrono::steady_clock::now() + limit;
  Watch(wait);
  // All but the last byte may be here: then only the end of the verification helps.
  const bool verifying = cursor_bytes_ + 1 == blob_->size_bytes();
  // Weak: what waits in a blob must not keep its transfer going after the timer gave up.
  blob_->WhenAvailable(verifying ? blob_->size_bytes() : cursor_bytes_,
                       [weak_self = weak_from_this(), wait] {
                         const auto self = weak_self.lock();
                         if (!self) return wait->Answer(Cancelled("the body is gone"));
                         self->options_.timers.Cancel(wait->timer);
                         wait->Answer(self->blob_->failure());
                       });
}

void BlobBody::Watch(const std::shared_ptr<Wait>& wait) {
  const SteadyTime next = std::chrono::steady_clock::now() + options_.stall_timeout;
  wait->timer =
      options_.timers.At(std::min(next, wait->give_up), [weak_self = weak_from_this(), wait] {
        const auto self = weak_self.lock();
        if (!self) return wait->Answer(Cancelled("the body is gone"));
        if (wait->answered) return;
        const uint64_t present_bytes = self->blob_->PresentBytes();
        const bool moves = present_bytes != std::exchange(wait->present_bytes, present_bytes) ||
                           present_bytes == self->blob_->size_bytes();
        if (!moves) {
          wait->Answer(Unavailable("no byte of blob " + self->blob_->digest().ToString() +
                                   " arrived for too long"));
        } else if (std::chrono::steady_clock::now() >= wait->give_up) {
          wait->Answer(OkStatus());
        } else {
          self->Watch(wait);
        }
      });
}

}  // namespace hearth::plugin
