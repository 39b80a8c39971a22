#include "plugin/growing_file.h"

#include <algorithm>
#include <iterator>
#include <utility>

namespace hearth::plugin {

GrowingFile::State GrowingFile::state() const {
  MutexLock lock(mutex_);
  return state_;
}

GrowingFile::Glance GrowingFile::glance() const {
  MutexLock lock(mutex_);
  return {state_.present_bytes, state_.ended};
}

std::vector<GrowingFile::Waiter> GrowingFile::Due() {
  const uint64_t present_bytes = state_.ended ? UINT64_MAX : state_.present_bytes;
  const auto due = std::partition(
      waiters_.begin(), waiters_.end(),
      [present_bytes](const Waiter& waiter) { return waiter.offset_bytes >= present_bytes; });
  std::vector<Waiter> out(std::make_move_iterator(due), std::make_move_iterator(waiters_.end()));
  waiters_.erase(due, waiters_.end());
  return out;
}

void GrowingFile::Begin(const FileVersion& version, std::shared_ptr<const Fd> file,
                        uint64_t present_bytes) {
  std::vector<Waiter> due;
  {
    MutexLock lock(mutex_);
    if (state_.ended) return;
    if (state_.begun && state_.present_bytes > present_bytes) {
      // What readers were given was of another version, or cannot be told from it.
      state_.ended = Unavailable("the file changed at its origin while it was being fetched");
    } else {
      state_.begun = true;
      state_.version = version;
      state_.file = std::move(file);
      state_.present_bytes = present_bytes;
    }
    due = Due();
    changed_.NotifyAll();
  }
  for (const Waiter& waiter : due) waiter.wake();
}

void GrowingFile::Advance(uint64_t present_bytes) {
  std::vector<Waiter> due;
  {
    MutexLock lock(mutex_);
    if (state_.ended) return;
    state_.present_bytes = present_bytes;
    due = Due();
  }
  for (const Waiter& waiter : due) waiter.wake();
}

void GrowingFile::Refuse(net::HttpResponse refusal) {
  MutexLock lock(mutex_);
  if (!state_.begun && !state_.ended) state_.refusal = std::move(refusal);
}

void GrowingFile::End(Status status, std::optional<Digest> digest) {
  std::vector<Waiter> due;
  {
    MutexLock lock(mutex_);
    if (state_.ended) return;
    state_.ended = std::move(status);
    state_.digest = digest;
    due = Due();
    changed_.NotifyAll();
  }
  for (const Waiter& waiter : due) waiter.wake();
}

std::shared_ptr<void> GrowingFile::Want() {
  MutexLock lock(mutex_);
  ++wanting_;
  return {nullptr, [self = shared_from_this()](void*) { self->LetGo(); }};
}

// Outside of the lock: what the stop calls may come back.
void GrowingFile::LetGo() {
  bool last = false;
  {
    MutexLock lock(mutex_);
    last = --wanting_ == 0;
  }
  if (last) stop_.request_stop();
}

void GrowingFile::WhenAvailable(uint64_t offset_bytes, std::function<void()> wake) {
  {
    MutexLock lock(mutex_);
    if (!state_.ended && offset_bytes >= state_.present_bytes) {
      waiters_.push_back({offset_bytes, std::move(wake)});
      return;
    }
  }
  wake();
}

bool GrowingFile::AwaitBegin(SteadyTime deadline, std::stop_token stop) {
  const std::stop_callback on_stop(stop, [this] {
    MutexLock lock(mutex_);
    changed_.NotifyAll();
  });
  MutexLock lock(mutex_);
  while (!state_.begun && !state_.ended && !stop.stop_requested()) {
    if (!changed_.WaitUntil(mutex_, deadline)) break;
  }
  return state_.begun || state_.ended.has_value();
}

}  // namespace hearth::plugin
