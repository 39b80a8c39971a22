#include "store/collector.h"

#include <algorithm>
#include <set>
#include <string>
#include <tuple>
#include <unordered_map>
#include <unordered_set>
#include <utility>

#include "base/log.h"
#include "base/metrics.h"
#include "base/units.h"

namespace hearth::store {

namespace {

// Deletions may free less than the records say (hard links, reflinks): then more go.
constexpr int kMaxRounds = 3;

CounterFamily g_evictions("hearth_evictions_total",
                          "Blobs, partial blobs and layers that were removed for lack of space.",
                          {"kind"});
CounterFamily g_evicted_bytes("hearth_evicted_bytes_total",
                              "Bytes of what was removed for lack of space.", {"kind"});

uint64_t Missing(uint64_t wanted, uint64_t have) { return wanted > have ? wanted - have : 0; }

uint64_t MissingInodes(const SpaceLimits& limits, const Disk::Inodes& inodes) {
  return inodes.total == 0 ? 0 : Missing(limits.min_free_inodes, inodes.free);
}

Keep KeepOf(bool preheated, WallTime pinned_until, WallTime now) {
  if (pinned_until > now) return Keep::kPinned;
  // A pin that ended says how long the preheat was to be kept.
  return preheated && pinned_until == WallTime() ? Keep::kPreheated : Keep::kCached;
}

}  // namespace

std::string_view Name(VictimKind kind) {
  switch (kind) {
    case VictimKind::kBlob:
      return "blob";
    case VictimKind::kPartial:
      return "partial";
    case VictimKind::kLayer:
      return "layer";
  }
  return "blob";
}

std::string_view Name(Keep keep) {
  switch (keep) {
    case Keep::kCached:
      return "cached";
    case Keep::kPreheated:
      return "preheated";
    case Keep::kPinned:
      return "pinned";
  }
  return "cached";
}

std::vector<Victim> ChooseVictims(const std::vector<Victim>& candidates,
                                  std::unordered_map<Digest, size_t> layers_above,
                                  Shortage shortage) {
  std::unordered_map<Digest, size_t> layers;  // to their places
  for (size_t i = 0; i < candidates.size(); ++i) {
    if (candidates[i].kind == VictimKind::kLayer) layers[candidates[i].id] = i;
  }
  // Of what was used at about the same time, as the parts of one image are, the largest goes first:
  // a manifest is worth more than its bytes.
  using Order = std::tuple<Keep, bool, int64_t, uint64_t, size_t>;
  std::set<Order> ready;
  bool inodes_alone = !shortage.bytes();
  const auto add = [&](size_t place) {
    const Victim& one = candidates[place];
    ready.emplace(one.keep, inodes_alone && one.kind != VictimKind::kLayer,
                  one.last_used.time_since_epoch() / kUseGranularity,
                  ~(inodes_alone ? one.inodes : one.size_bytes), place);
  };
  for (size_t i = 0; i < candidates.size(); ++i) {
    const Victim& one = candidates[i];
    if (one.kind != VictimKind::kLayer || layers_above[one.id] == 0) add(i);
  }
  std::vector<Victim> chosen;
  while (!ready.empty() && shortage.any()) {
    if (!inodes_alone && !shortage.bytes()) {
      inodes_alone = true;
      const std::set<Order> left = std::exchange(ready, {});
      for (const Order& order : left) add(std::get<4>(order));
    }
    const Victim& one = candidates[std::get<4>(*ready.begin())];
    ready.erase(ready.begin());
    if (one.keep == Keep::kPinned && shortage.free_bytes == 0 && shortage.inodes == 0) break;
    shortage.free_bytes = Missing(shortage.free_bytes, one.size_bytes);
    shortage.quota_bytes = Missing(shortage.quota_bytes, one.size_bytes);
    shortage.inodes = Missing(shortage.inodes, one.inodes);
    chosen.push_back(one);
    if (!one.parent_chain || --layers_above[*one.parent_chain] > 0) continue;
    if (const auto below = layers.find(*one.parent_chain); below != layers.end()) {
      add(below->second);
    }
  }
  return chosen;
}

Result<Collected> Collector::Collect(bool dry_run, const std::function<void(const Victim&)>& visit,
                                     std::stop_token stop) {
  MutexLock lock(mutex_);
  return CollectHeld(0, dry_run, visit, std::move(stop));
}

Result<Collected> Collector::CollectHeld(uint64_t room_bytes, bool dry_run,
                                         const std::function<void(const Victim&)>& visit,
                                         std::stop_token stop) {
  TRY_STATUS(options_.store.blobs().RecordUses());
  if (!dry_run) TRY_STATUS(CleanUp(stop));
  Collected done;
  done.before = done.after = TRY(Measure(room_bytes));
  for (int round = 0; round < kMaxRounds && done.after.any(); ++round) {
    const size_t count_before = done.blobs + done.layers;
    for (const Victim& victim : TRY(Choose(done.after))) {
      if (stop.stop_requested()) return Cancelled("the search for space");
      if (!dry_run) {
        const Status evicted = Evict(victim);
        // Somebody wants it by now.
        if (evicted.code() == StatusCode::kFailedPrecondition ||
            evicted.code() == StatusCode::kNotFound) {
          continue;
        }
        TRY_STATUS(evicted);
        g_evictions.Add({std::string(Name(victim.kind))});
        g_evicted_bytes.Add({std::string(Name(victim.kind))},
                            static_cast<double>(victim.size_bytes));
      }
      ++(victim.kind == VictimKind::kLayer ? done.layers : done.blobs);
      done.freed_bytes += victim.size_bytes;
      done.freed_inodes += victim.inodes;
      if (visit) visit(victim);
      if (!dry_run && (done.blobs + done.layers) % kVictimsPerTurn == 0) {
        options_.pause(kVictimsPause, stop);
      }
    }
    if (dry_run) {
      done.after.free_bytes = Missing(done.after.free_bytes, done.freed_bytes);
      done.after.quota_bytes = Missing(done.after.quota_bytes, done.freed_bytes);
      done.after.inodes = Missing(done.after.inodes, done.freed_inodes);
      break;
    }
    if (done.blobs + done.layers == count_before) break;
    TRY_STATUS(CleanUp(stop));
    done.after = TRY(Measure(room_bytes));
  }
  if (!dry_run && done.blobs + done.layers > 0) {
    LOG_INFO("space freed", {{"blobs", done.blobs},
                             {"layers", done.layers},
                             {"bytes", done.freed_bytes},
                             {"inodes", done.freed_inodes},
                             {"missing_bytes", done.after.free_bytes},
                             {"missing_inodes", done.after.inodes},
                             {"over_quota_bytes", done.after.quota_bytes}});
  }
  return done;
}

Status Collector::CleanUp(const std::stop_token& stop) {
  const Status cleaned = options_.store.snapshots().Cleanup(stop);
  if (stop.stop_requested()) return Cancelled("the search for space");
  if (!cleaned.ok() && cleaned.message() != stuck_) {
    LOG_WARNING("a removed snapshot's files cannot be deleted", {{"error", cleaned}});
  }
  stuck_ = cleaned.message();
  return OkStatus();
}

Status Collector::MakeRoom(uint64_t size_bytes, std::stop_token stop) {
  return RoomFor(size_bytes, false, std::move(stop));
}

Status Collector::CheckRoom(uint64_t size_bytes, std::stop_token stop) {
  return RoomFor(size_bytes, true, std::move(stop));
}

Status Collector::RoomFor(uint64_t size_bytes, bool dry_run, std::stop_token stop) {
  MutexLock lock(mutex_);
  const Collected done = TRY(CollectHeld(size_bytes, dry_run, nullptr, std::move(stop)));
  const std::string needed = "no room for " + FormatByteSize(size_bytes) + ": ";
  if (done.after.free_bytes > 0) {
    return ResourceExhausted(
        needed + "the file system of " + options_.store.root().string() + " would have " +
        FormatByteSize(done.after.free_bytes) +
        " less than store.min_free, and nothing is left to evict (free space there, or lower the "
        "key)");
  }
  if (done.after.inodes > 0) {
    return ResourceExhausted(
        needed + "the file system of " + options_.store.root().string() + " has " +
        std::to_string(done.after.inodes) +
        " inodes less free than store.min_free_inodes, and nothing is left to evict (delete small "
        "files there, or lower the key)");
  }
  if (done.after.quota_bytes > 0) {
    return ResourceExhausted(needed + "the store would be " +
                             FormatByteSize(done.after.quota_bytes) +
                             " over store.quota, and what it holds is in use or pinned (remove "
                             "images, or raise the key)");
  }
  return OkStatus();
}

Result<bool> Collector::IsShort() const {
  const auto& root = options_.store.root();
  const Disk::Inodes inodes = TRY(options_.disk.CountInodes(root));
  const SpaceLimits limits = options_.limits({TRY(options_.disk.TotalBytes(root)), inodes.total});
  return TRY(options_.disk.FreeBytes(root)) < limits.min_free_bytes ||
         MissingInodes(limits, inodes) > 0;
}

Result<Shortage> Collector::Measure(uint64_t room_bytes) const {
  const auto& root = options_.store.root();
  const uint64_t total = TRY(options_.disk.TotalBytes(root));
  const uint64_t free = TRY(options_.disk.FreeBytes(root));
  const Disk::Inodes inodes = TRY(options_.disk.CountInodes(root));
  const SpaceLimits limits = options_.limits({total, inodes.total});
  Shortage shortage;
  shortage.inodes = MissingInodes(limits, inodes);
  shortage.free_bytes = Missing(limits.min_free_bytes + room_bytes, free);
  if (limits.min_free_bytes == 0) shortage.free_bytes = Missing(room_bytes, free);
  // Counting what is ours walks the index; it cannot be more than all that is used.
  if (Missing(total, free) + room_bytes > limits.quota_bytes) {
    shortage.quota_bytes = Missing(TRY(OwnBytes()) + room_bytes, limits.quota_bytes);
  }
  return shortage;
}

Result<uint64_t> Collector::OwnBytes() const {
  uint64_t own = 0;
  Store& store = options_.store;
  TRY_STATUS(store.blobs().List([&](const BlobInfo& info) {
    own += info.size_bytes;
    return true;
  }));
  TRY_STATUS(store.blobs().ListPartial([&](const PartialInfo& info) {
    own += info.present_bytes;
    return true;
  }));
  TRY_STATUS(store.ingests().List([&](const IngestInfo& info) {
    own += info.offset_bytes;
    return true;
  }));
  TRY_STATUS(store.snapshots().ListLayers([&](const LayerInfo& info) {
    own += info.disk_bytes;
    return true;
  }));
  return own;
}

Result<std::vector<Victim>> Collector::Choose(const Shortage& shortage) const {
  Store& store = options_.store;
  const WallTime now = options_.clock.WallNow();
  const WallTime since = UnusedSince();
  std::unordered_set<Digest> aliased;
  TRY_STATUS(store.snapshots().List([&](const SnapshotInfo& info) {
    if (info.chain) aliased.insert(*info.chain);
    return true;
  }));
  std::vector<Victim> candidates;
  std::unordered_map<Digest, size_t> layers_above;
  std::unordered_set<Digest> needed_blobs;  // a layer may have to be made of them again
  TRY_STATUS(store.snapshots().ListLayers([&](const LayerInfo& layer) {
    if (layer.parent_chain) ++layers_above[*layer.parent_chain];
    if (!layer.durable) needed_blobs.insert(layer.blob);
    if (aliased.contains(layer.chain) || UsedSince(layer.last_used, since, now)) return true;
    candidates.push_back({VictimKind::kLayer, layer.chain, layer.disk_bytes, layer.inodes,
                          KeepOf(layer.preheated, layer.pinned_until, now), layer.last_used,
                          layer.parent_chain});
    return true;
  }));
  for (const LayerInfo& lost : store.snapshots().LostLayers()) needed_blobs.insert(lost.blob);
  TRY_STATUS(store.blobs().List([&](const BlobInfo& blob) {
    if (blob.claimed || needed_blobs.contains(blob.digest)) return true;
    if (UsedSince(blob.last_used, since, now)) return true;
    candidates.push_back({VictimKind::kBlob,
                          blob.digest,
                          blob.size_bytes,
                          1,
                          KeepOf(blob.preheated, blob.pinned_until, now),
                          blob.last_used,
                          {}});
    return true;
  }));
  TRY_STATUS(store.blobs().ListPartial([&](const PartialInfo& partial) {
    if (partial.being_fetched || UsedSince(partial.last_written, since, now)) return true;
    candidates.push_back({VictimKind::kPartial,
                          partial.digest,
                          partial.present_bytes,
                          1,
                          Keep::kCached,
                          partial.last_written,
                          {}});
    return true;
  }));
  return ChooseVictims(candidates, std::move(layers_above), shortage);
}

Status Collector::Evict(const Victim& victim) const {
  if (victim.kind != VictimKind::kLayer) {
    return options_.store.blobs().Evict(victim.id, UnusedSince());
  }
  return options_.store.snapshots().EvictLayer(victim.id, UnusedSince());
}

}  // namespace hearth::store
