#include "plugin/unpack_slots.h"

#include <string>
#include <utility>

namespace hearth::plugin {

Status UnpackSlots::Enqueue(bool growing, std::function<void()> start) {
  std::vector<std::function<void()>> starts;
  {
    MutexLock lock(mutex_);
    if (queue_.size() >= options_.queue_limit) {
      return ResourceExhausted(std::to_string(queue_.size()) + " layers wait to be unpacked");
    }
    queue_.push_back({growing, std::move(start)});
    starts = Admit();
  }
  for (const auto& begin : starts) begin();
  return OkStatus();
}

void UnpackSlots::End(bool growing) { Leave(growing, /*has_slot=*/true); }

void UnpackSlots::EndParked(bool growing) { Leave(growing, /*has_slot=*/false); }

void UnpackSlots::Leave(bool growing, bool has_slot) {
  std::vector<std::function<void()>> starts;
  {
    MutexLock lock(mutex_);
    if (has_slot) --running_;
    if (growing) --open_growing_;
    freed_.NotifyAll();
    starts = Admit();
  }
  for (const auto& begin : starts) begin();
}

void UnpackSlots::Park() {
  std::vector<std::function<void()>> starts;
  {
    MutexLock lock(mutex_);
    --running_;
    freed_.NotifyAll();
    starts = Admit();
  }
  for (const auto& begin : starts) begin();
}

void UnpackSlots::Resume(std::stop_token stop) {
  // Before the lock, since it may run at once, and after it in destruction.
  const std::stop_callback on_stop(stop, [this] {
    MutexLock lock(mutex_);
    freed_.NotifyAll();
  });
  MutexLock lock(mutex_);
  ++resuming_;
  while (running_ >= options_.running && !stop.stop_requested()) freed_.Wait(mutex_);
  --resuming_;
  ++running_;
}

std::vector<std::function<void()>> UnpackSlots::Admit() {
  std::vector<std::function<void()>> starts;
  for (auto it = queue_.begin(); it != queue_.end();) {
    if (running_ + resuming_ >= options_.running) break;
    if (it->growing && open_growing_ >= options_.open_growing) {
      ++it;
      continue;
    }
    ++running_;
    if (it->growing) ++open_growing_;
    starts.push_back(std::move(it->start));
    it = queue_.erase(it);
  }
  return starts;
}

}  // namespace hearth::plugin
