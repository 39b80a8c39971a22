#include "plugin/upkeep.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>
#include <vector>

#include "base/file.h"
#include "base/log.h"

namespace hearth::plugin {

Upkeep::Upkeep(Options options)
    : options_(std::move(options)),
      first_(std::chrono::steady_clock::now()),
      last_(first_),
      next_sweep_(first_ + options_.interval),
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

bool Upkeep::Wait(std::chrono::steady_clock::time_point next) {
  auto look = std::chrono::steady_clock::now() + options_.look;
  MutexLock lock(mutex_);
  while (!stopping_) {
    auto due = next;
    if (pending_) due = std::min({due, last_ + options_.quiet, first_ + options_.longest});
    const auto now = std::chrono::steady_clock::now();
    if (now >= due) break;
    if (now >= look) {
      if (IsShort()) break;
      look = now + options_.look;
    }
    (void)changed_.WaitUntil(mutex_, std::min(due, look));
  }
  pending_ = false;
  return !stopping_;
}

void Upkeep::Run() {
  NameThread("upkeep");
  while (Wait(std::chrono::steady_clock::now() + options_.interval)) {
    if (const Status status = SyncLayers(); !status.ok()) {
      LOG_WARNING("layers not synced", {{"error", status}});
    }
    Collect();
    SweepRecords();
  }
  if (const Status status = SyncLayers(); !status.ok()) {
    LOG_WARNING("layers not synced at the stop", {{"error", status}});
  }
}

void Upkeep::SweepRecords() {
  const auto now = std::chrono::steady_clock::now();
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
