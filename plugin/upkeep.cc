#include "plugin/upkeep.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <vector>

#include "base/file.h"
#include "base/log.h"

namespace hearth::plugin {

Upkeep::Upkeep(Options options)
    : options_(options),
      first_(std::chrono::steady_clock::now()),
      last_(first_),
      thread_([this] { Run(); }) {}

Upkeep::~Upkeep() {
  {
    MutexLock lock(mutex_);
    stopping_ = true;
  }
  stop_.request_stop();
  changed_.NotifyAll();
  thread_.join();
}

void Upkeep::Notice() {
  {
    MutexLock lock(mutex_);
    last_ = std::chrono::steady_clock::now();
    if (!pending_) first_ = last_;
    pending_ = true;
  }
  changed_.NotifyAll();
}

void Upkeep::Run() {
  NameThread("upkeep");
  auto next = std::chrono::steady_clock::now() + options_.interval;
  while (true) {
    {
      MutexLock lock(mutex_);
      while (!stopping_) {
        auto due = next;
        if (pending_) due = std::min({due, last_ + options_.quiet, first_ + options_.longest});
        if (std::chrono::steady_clock::now() >= due) break;
        (void)changed_.WaitUntil(mutex_, due);
      }
      if (stopping_) return;
      pending_ = false;
    }
    if (const Status status = SyncLayers(); !status.ok()) {
      LOG_WARNING("layers not synced", {{"error", status}});
    }
    const Status cleaned = options_.store.snapshots().Cleanup(stop_.get_token());
    if (!cleaned.ok() && cleaned.code() != StatusCode::kCancelled) {
      LOG_WARNING("directories not deleted", {{"error", cleaned}});
    }
    next = std::chrono::steady_clock::now() + options_.interval;
  }
}

Status Upkeep::SyncLayers() {
  auto& snapshots = options_.store.snapshots();
  std::vector<Digest> unsynced;
  TRY_STATUS(snapshots.ListLayers([&](const store::LayerInfo& layer) {
    if (!layer.durable) unsynced.push_back(layer.chain);
    return true;
  }));
  if (unsynced.empty()) return OkStatus();
  const Fd root = TRY(OpenFile(options_.store.root(), O_RDONLY | O_DIRECTORY));
  if (::syncfs(root.get()) < 0) return ErrnoStatus(errno, "syncfs");
  for (const Digest& chain : unsynced) {
    const Status marked = snapshots.MarkDurable(chain);
    if (!marked.ok() && marked.code() != StatusCode::kNotFound) return marked;
  }
  return OkStatus();
}

}  // namespace hearth::plugin
