#include "plugin/upkeep.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <utility>
#include <vector>

#include "base/file.h"
#include "base/log.h"

namespace hearth::plugin {

Upkeep::Upkeep(Options options)
    : options_(std::move(options)),
      collect_(options_.collect),
      sync_(options_.sync),
      next_sweep_(Clock::now() + options_.interval),
      thread_([this] { Run(); }) {
  Notice();  // the last run may have left some
}

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
    const auto now = Clock::now();
    collect_.Add(now);
    sync_.Add(now);
  }
  changed_.NotifyAll();
}

bool Upkeep::Wait(Clock::time_point next) {
  auto look = Clock::now() + options_.look;
  MutexLock lock(mutex_);
  while (!stopping_) {
    const auto due = std::min({next, collect_.Due(), sync_.Due()});
    const auto now = Clock::now();
    if (now >= due) break;
    if (now >= look) {
      if (IsShort()) break;
      look = now + options_.look;
    }
    (void)changed_.WaitUntil(mutex_, std::min(due, look));
  }
  collect_.Clear();
  return !stopping_;
}

bool Upkeep::TakeSync(bool now) {
  MutexLock lock(mutex_);
  if (!now && Clock::now() < sync_.Due()) return false;
  sync_.Clear();
  return true;
}

void Upkeep::Run() {
  NameThread("upkeep");
  while (Wait(Clock::now() + options_.interval)) {
    // What was unpacked from a blob must be on disk before that may be evicted.
    const auto is_short = options_.collector.IsShort();
    if (TakeSync(is_short.ok() && *is_short)) {
      if (const Status status = SyncLayers(); !status.ok()) {
        LOG_WARNING("layers not synced", {{"error", status}});
        MutexLock lock(mutex_);
        sync_.Add(Clock::now());
      }
    }
    Collect();
    SweepRecords();
  }
  if (const Status status = SyncLayers(); !status.ok()) {
    LOG_WARNING("layers not synced at the stop", {{"error", status}});
  }
}

void Upkeep::SweepRecords() {
  const auto now = Clock::now();
  if (now < next_sweep_) return;
  next_sweep_ = now + options_.interval;
  for (const auto& sweep : options_.sweeps) {
    if (const Status status = sweep(); !status.ok()) {
      LOG_WARNING("records not swept", {{"error", status}});
    }
  }
}

// Where others fill the file system and nothing of ours is left to go, the interval will do.
bool Upkeep::IsShort() {
  if (nothing_left_) return false;
  const auto is_short = options_.collector.IsShort();
  return is_short.ok() && *is_short;
}

void Upkeep::Collect() {
  const auto done = options_.collector.Collect(false, nullptr, stop_.get_token());
  if (!done.ok()) {
    if (done.status().code() != StatusCode::kCancelled) {
      LOG_WARNING("space not freed", {{"error", done.status()}});
    }
    return;
  }
  const bool had_left = !nothing_left_;
  nothing_left_ = done->after.any();
  if (nothing_left_ && had_left) {
    LOG_WARNING("space is short, and nothing is left to evict",
                {{"missing_bytes", done->after.free_bytes},
                 {"missing_inodes", done->after.inodes},
                 {"over_quota_bytes", done->after.quota_bytes}});
  }
}

Status Upkeep::SyncLayers() {
  auto& snapshots = options_.store.snapshots();
  const std::vector<uint64_t> unsynced = snapshots.NotDurable();
  if (unsynced.empty()) return OkStatus();
  const Fd root = TRY(OpenFile(options_.store.root(), O_RDONLY | O_DIRECTORY));
  if (::syncfs(root.get()) < 0) return ErrnoStatus(errno, "syncfs");
  return snapshots.MarkDurable(unsynced);
}

}  // namespace hearth::plugin
