// Collector: frees space where the file system, or the store's quota, lacks it.
//
// Takes what nobody asked to keep first, then preheats, each least recently used first, then pins;
// pins go only for the file system's sake. What containerd uses, what somebody reads, what was used
// in the last minute, layers that others lie on and blobs whose layer a power loss could still
// take are not taken. Any thread; one run at a time, the others wait for it.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <stop_token>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/clock.h"
#include "base/digest.h"
#include "base/status.h"
#include "base/thread.h"
#include "store/disk.h"
#include "store/store.h"

namespace hearth::store {

struct FileSystemSize {
  uint64_t bytes = 0;
  uint64_t inodes = 0;  // 0 = no limit
};

struct SpaceLimits {
  uint64_t quota_bytes = 0;      // of the store's own blobs, layers and ingests
  uint64_t min_free_bytes = 0;   // of the file system; 0 = whatever others leave
  uint64_t min_free_inodes = 0;  // likewise
};

enum class VictimKind : uint8_t { kBlob, kPartial, kLayer };
// In the order in which they go.
enum class Keep : uint8_t { kCached, kPreheated, kPinned };

std::string_view Name(VictimKind kind);
std::string_view Name(Keep keep);

// Something that may go.
struct Victim {
  VictimKind kind = VictimKind::kBlob;
  Digest id;  // a blob's digest, a layer's chain ID
  uint64_t size_bytes = 0;
  uint64_t inodes = 1;
  Keep keep = Keep::kCached;
  WallTime last_used;
  std::optional<Digest> parent_chain;  // of a layer
};

struct Shortage {
  uint64_t free_bytes = 0;   // missing to min_free
  uint64_t quota_bytes = 0;  // more than the quota
  uint64_t inodes = 0;       // missing to min_free_inodes
  bool bytes() const { return free_bytes > 0 || quota_bytes > 0; }
  bool any() const { return bytes() || inodes > 0; }
};

struct Collected {
  Shortage before;
  Shortage after;
  size_t blobs = 0;  // partial ones too
  size_t layers = 0;
  uint64_t freed_bytes = 0;  // as the records counted them
  uint64_t freed_inodes = 0;
};

// The victims that make up for `shortage`, in order. `layers_above` counts the layers that lie on
// each; those with any go only after all of these. Where inodes alone are missing, layers go before
// blobs of the same Keep: a blob is one file, however large.
std::vector<Victim> ChooseVictims(const std::vector<Victim>& candidates,
                                  std::unordered_map<Digest, size_t> layers_above,
                                  Shortage shortage);

// 10,000 victims a second at most.
inline constexpr size_t kVictimsPerTurn = 100;
inline constexpr std::chrono::milliseconds kVictimsPause{10};

class Collector {
 public:
  struct Options {
    Store& store;
    std::function<SpaceLimits(const FileSystemSize&)> limits;  // asked at each run
    std::chrono::nanoseconds young = std::chrono::minutes(1);  // used so lately: not taken
    const Clock& clock = RealClock();
    Disk& disk = RealDisk();
    Pause pause = PauseFor;  // after each kVictimsPerTurn
  };
  explicit Collector(Options options) : options_(std::move(options)) {}

  // Frees what the limits ask for, and deletes what was removed; may take long. `visit` hears of
  // each victim. With `dry_run` nothing goes, and `after` is what would be left.
  Result<Collected> Collect(bool dry_run, const std::function<void(const Victim&)>& visit,
                            std::stop_token stop);
  // The same, so that `size_bytes` more fit in. kResourceExhausted, with the figures and the keys
  // to change, when they do not.
  Status MakeRoom(uint64_t size_bytes, std::stop_token stop);
  // What MakeRoom() would say; nothing goes.
  Status CheckRoom(uint64_t size_bytes, std::stop_token stop);
  // Whether the file system has less than min_free or min_free_inodes now. Cheap.
  Result<bool> IsShort() const;

 private:
  Status RoomFor(uint64_t size_bytes, bool dry_run, std::stop_token stop) EXCLUDES(mutex_);
  Result<Collected> CollectHeld(uint64_t room_bytes, bool dry_run,
                                const std::function<void(const Victim&)>& visit,
                                std::stop_token stop) REQUIRES(mutex_);
  // Deletes what was removed. What cannot be deleted, as a file that is immutable, is no reason to
  // free nothing else: it is logged once. kCancelled: `stop`.
  Status CleanUp(const std::stop_token& stop) REQUIRES(mutex_);
  Result<Shortage> Measure(uint64_t room_bytes) const;
  Result<uint64_t> OwnBytes() const;
  Result<std::vector<Victim>> Choose(const Shortage& shortage) const;
  Status Evict(const Victim& victim) const;
  WallTime UnusedSince() const { return options_.clock.WallNow() - options_.young; }

  const Options options_;
  Mutex mutex_;                           // one run
  std::string stuck_ GUARDED_BY(mutex_);  // why something could not be deleted, at the last run
};

}  // namespace hearth::store
