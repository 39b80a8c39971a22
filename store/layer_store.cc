// The part of the snapshot store that keeps layers.
#include <algorithm>
#include <utility>

#include "base/log.h"
#include "store/disk_snapshot_store.h"

namespace hearth::store {

Result<uint64_t> DiskSnapshotStore::BeginLayer() {
  MutexLock lock(mutex_);
  const uint64_t directory = TRY(NextNumber());
  TRY_STATUS(directories_.Make(directory, 0));
  unfinished_.insert(directory);
  return directory;
}

Status DiskSnapshotStore::CommitLayer(const LayerInfo& layer) {
  {
    MutexLock lock(mutex_);
    if (!unfinished_.contains(layer.directory)) {
      return InvalidArgument("directory " + std::to_string(layer.directory) +
                             " was not begun as a layer");
    }
    const Status there = index_.FindLayer(layer.chain).status();
    if (there.code() == StatusCode::kNotFound) {
      LayerInfo made = layer;
      made.last_used = options_.clock.WallNow();
      if (made.created == WallTime()) made.created = made.last_used;
      if (made.parent_chain) {
        const Status below = index_.FindLayer(*made.parent_chain).status();
        if (below.code() == StatusCode::kNotFound) {
          return FailedPrecondition("the layer below, " + made.parent_chain->ToString() +
                                    ", is gone");
        }
        TRY_STATUS(below);
      }
      if (const auto lost = index_.FindLostLayer(layer.chain); lost.ok()) {
        made.preheated |= lost->preheated;
        made.pinned_until = std::max(made.pinned_until, lost->pinned_until);
      }
      kv::Batch batch;
      index_.Put(batch, made);
      // Aliases whose layer was lost have one again.
      if (const auto aliases = aliases_.find(layer.chain); aliases != aliases_.end()) {
        for (const auto& name : aliases->second) {
          SnapshotRecord record = TRY(index_.FindSnapshot(name));
          record.info.directory = layer.directory;
          record.usage.reset();
          index_.Put(batch, record);
        }
      }
      TRY_STATUS(index_.Apply(batch));
      unfinished_.erase(layer.directory);
      lost_.erase(layer.chain);
      if (!made.durable) not_durable_.emplace(made.directory, made.chain);
      if (layer.parent_chain) layers_on_[*layer.parent_chain].insert(layer.chain);
      return OkStatus();
    }
    TRY_STATUS(there);
  }
  AbandonLayer(layer.directory);
  return AlreadyExists("layer " + layer.chain.ToString() + " is in the store already");
}

void DiskSnapshotStore::AbandonLayer(uint64_t directory) {
  {
    MutexLock lock(mutex_);
    if (unfinished_.erase(directory) == 0) return;
    going_.insert(directory);
  }
  const Status removed = RemoveTreeOf(directory, {});
  if (!removed.ok()) {
    LOG_WARNING("abandoned layer not removed; the next start does it",
                {{"directory", directory}, {"error", removed}});
  }
  MutexLock lock(mutex_);
  going_.erase(directory);
}

Result<LayerInfo> DiskSnapshotStore::FindLayer(const Digest& chain) const {
  return index_.FindLayer(chain);
}

Status DiskSnapshotStore::ListLayers(const std::function<bool(const LayerInfo&)>& visit) const {
  return index_.ScanLayers([&](const std::string& /*key*/, const Result<LayerInfo>& layer) {
    return layer.ok() && layer->directory != 0 ? visit(*layer) : true;
  });
}

Result<std::vector<std::filesystem::path>> DiskSnapshotStore::LayerPaths(
    const Digest& chain) const {
  std::vector<std::filesystem::path> paths;
  std::optional<Digest> next = chain;
  while (next) {
    const LayerInfo layer = TRY(index_.FindLayer(*next));
    paths.push_back(FsPath(layer.directory));
    next = layer.parent_chain;
  }
  return paths;
}

Status DiskSnapshotStore::PreheatLayer(const Digest& chain, std::optional<WallTime> pinned_until) {
  MutexLock lock(mutex_);
  LayerInfo layer = TRY(index_.FindLayer(chain));
  layer.preheated = true;
  layer.last_used = options_.clock.WallNow();
  if (pinned_until) layer.pinned_until = std::max(layer.pinned_until, *pinned_until);
  kv::Batch batch;
  index_.Put(batch, layer);
  return index_.Apply(batch);
}

Result<bool> DiskSnapshotStore::DropPreheatOfLayer(const Digest& chain) {
  MutexLock lock(mutex_);
  auto found = index_.FindLayer(chain);
  const bool lost = !found.ok();
  if (lost) found = index_.FindLostLayer(chain);
  LayerInfo layer = TRY(std::move(found));
  layer.preheated = false;
  layer.pinned_until = WallTime();
  const bool used = LayerInUse(layer);
  kv::Batch batch;
  if (used) {
    index_.Put(batch, layer);
  } else {
    index_.RemoveLayer(batch, chain.ToString());
  }
  TRY_STATUS(index_.Apply(batch));
  if (!used && !lost) ForgetLayer(layer);
  if (!used) lost_.erase(chain);
  return !used;
}

// --- power losses ---

std::vector<uint64_t> DiskSnapshotStore::NotDurable() const {
  MutexLock lock(mutex_);
  std::vector<uint64_t> directories;
  for (const auto& [directory, owner] : not_durable_) directories.push_back(directory);
  return directories;
}

Status DiskSnapshotStore::MarkDurable(const std::vector<uint64_t>& directories) {
  for (const uint64_t directory : directories) {
    MutexLock lock(mutex_);  // of each, so that nobody waits for all
    const auto entry = not_durable_.find(directory);
    if (entry == not_durable_.end()) continue;
    kv::Batch batch;
    if (const auto* chain = std::get_if<Digest>(&entry->second)) {
      auto layer = index_.FindLayer(*chain);
      if (layer.ok() && layer->directory == directory) {
        layer->durable = true;
        index_.Put(batch, *layer);
      }
    } else {
      auto record = index_.FindSnapshot(std::get<std::string>(entry->second));
      if (record.ok() && record->info.directory == directory) {
        record->unsynced_boot.clear();
        index_.Put(batch, *record);
      }
    }
    TRY_STATUS(index_.Apply(batch));
    not_durable_.erase(entry);
  }
  return OkStatus();
}

std::vector<LayerInfo> DiskSnapshotStore::LostLayers() const {
  MutexLock lock(mutex_);
  std::vector<LayerInfo> layers;
  for (const Digest& chain : lost_) {
    const auto known = index_.FindLostLayer(chain);
    LayerInfo layer;
    if (known.ok()) layer = *known;
    layer.chain = chain;
    layers.push_back(std::move(layer));
  }
  return layers;
}

void DiskSnapshotStore::ForgetUnwantedLost() {
  const WallTime now = options_.clock.WallNow();
  kv::Batch batch;
  std::erase_if(lost_, [&](const Digest& chain) NO_THREAD_SAFETY_ANALYSIS {
    if (aliases_.contains(chain) || layers_on_.contains(chain)) return false;
    const auto layer = index_.FindLostLayer(chain);
    if (layer.ok() && (layer->preheated || layer->pinned_until > now)) return false;
    index_.RemoveLayer(batch, chain.ToString());
    return true;
  });
  if (const Status status = index_.Apply(batch); !status.ok()) {
    LOG_WARNING("records of lost layers not dropped; the next start does it", {{"error", status}});
  }
}

// --- use and removal ---

Status DiskSnapshotStore::TouchLayer(const Digest& chain) {
  MutexLock lock(mutex_);
  LayerInfo layer = TRY(index_.FindLayer(chain));
  const WallTime now = options_.clock.WallNow();
  if (UsedSince(layer.last_used, now - kUseGranularity, now)) return OkStatus();
  layer.last_used = now;
  kv::Batch batch;
  index_.Put(batch, layer);
  return index_.Apply(batch);
}

bool DiskSnapshotStore::LayerInUse(const LayerInfo& layer) const {
  return aliases_.contains(layer.chain) || layers_on_.contains(layer.chain);
}

void DiskSnapshotStore::ForgetLayer(const LayerInfo& layer) {
  not_durable_.erase(layer.directory);
  doomed_.push_back(layer.directory);
  if (!layer.parent_chain) return;
  const auto below = layers_on_.find(*layer.parent_chain);
  if (below == layers_on_.end()) return;
  below->second.erase(layer.chain);
  if (below->second.empty()) layers_on_.erase(below);
}

Status DiskSnapshotStore::RemoveLayer(const Digest& chain) {
  return RemoveLayerUnless(chain, [](const LayerInfo& /*layer*/) { return OkStatus(); });
}

Status DiskSnapshotStore::EvictLayer(const Digest& chain, WallTime unused_since) {
  return RemoveLayerUnless(chain, [&](const LayerInfo& layer) {
    if (!UsedSince(layer.last_used, unused_since, options_.clock.WallNow())) return OkStatus();
    return FailedPrecondition("layer " + chain.ToString() + " was used lately");
  });
}

Status DiskSnapshotStore::RemoveLayerUnless(const Digest& chain,
                                            const std::function<Status(const LayerInfo&)>& refuse) {
  MutexLock lock(mutex_);
  const LayerInfo layer = TRY(index_.FindLayer(chain));
  TRY_STATUS(refuse(layer));
  if (LayerInUse(layer)) {
    return FailedPrecondition("layer " + chain.ToString() +
                              " is in use: a snapshot or another layer needs it");
  }
  kv::Batch batch;
  index_.RemoveLayer(batch, chain.ToString());
  TRY_STATUS(index_.Apply(batch));
  ForgetLayer(layer);
  return OkStatus();
}

Status DiskSnapshotStore::DropUnwanted(const SnapshotInfo& info, kv::Batch& batch,
                                       std::vector<LayerInfo>& dropped) {
  const auto aliases = aliases_.find(*info.chain);
  if (aliases == aliases_.end() || aliases->second.size() > 1) return OkStatus();
  const WallTime now = options_.clock.WallNow();
  std::optional<Digest> next = info.chain;
  while (next) {
    const auto found = index_.FindLayer(*next);
    if (found.status().code() == StatusCode::kNotFound) return OkStatus();
    const LayerInfo layer = TRY(found);
    if (layer.preheated || layer.pinned_until > now) {
      LayerInfo kept = layer;
      kept.last_used = now;  // containerd had it until now
      index_.Put(batch, kept);
      return OkStatus();
    }
    // Of what lies on it only the one just dropped may be left.
    const auto above = layers_on_.find(layer.chain);
    const size_t others = above == layers_on_.end() ? 0 : above->second.size();
    if (others > (dropped.empty() ? 0 : 1)) return OkStatus();
    if (!dropped.empty() && aliases_.contains(layer.chain)) return OkStatus();
    index_.RemoveLayer(batch, layer.chain.ToString());
    dropped.push_back(layer);
    next = layer.parent_chain;
  }
  return OkStatus();
}

// --- aliases ---

Status DiskSnapshotStore::CheckFits(const LayerInfo& layer,
                                    const std::optional<SnapshotInfo>& parent) const {
  const auto no = [&](const std::string& below) {
    return FailedPrecondition("layer " + layer.chain.ToString() + " lies on " +
                              (layer.parent_chain ? layer.parent_chain->ToString() : "nothing") +
                              ", not on " + below);
  };
  if (!parent) return layer.parent_chain ? no("nothing") : OkStatus();
  if (!layer.parent_chain) return no(parent->name);
  if (parent->chain) {
    return parent->chain == layer.parent_chain ? OkStatus() : no(parent->chain->ToString());
  }
  // containerd's own: it knows what it committed, and says so where it can.
  const auto label = parent->labels.find(kSnapshotRefLabel);
  if (label == parent->labels.end()) return OkStatus();
  const auto said = Digest::Parse(label->second);
  return !said.ok() || *said == *layer.parent_chain ? OkStatus() : no(label->second);
}

Result<SnapshotInfo> DiskSnapshotStore::Alias(const Digest& chain, const std::string& parent) {
  MutexLock lock(mutex_);
  LayerInfo layer = TRY(index_.FindLayer(chain));
  TRY_STATUS(CheckFits(layer, TRY(FindParent(parent))));
  if (const auto aliases = aliases_.find(chain); aliases != aliases_.end()) {
    for (const auto& name : aliases->second) {
      const SnapshotInfo info = TRY(index_.FindSnapshot(name)).info;
      const auto label = info.labels.find(kSnapshotRefLabel);
      if (info.parent == parent && label != info.labels.end() &&
          label->second == chain.ToString()) {
        return info;
      }
    }
  }
  SnapshotRecord record;
  record.info.name = "hearth/" + std::to_string(TRY(NextNumber())) + "/" + chain.ToString();
  record.info.parent = parent;
  record.info.kind = SnapshotKind::kCommitted;
  record.info.created = record.info.updated = options_.clock.WallNow();
  record.info.labels[kSnapshotRefLabel] = chain.ToString();
  record.info.directory = layer.directory;
  record.info.chain = chain;
  kv::Batch batch;
  layer.last_used = record.info.created;
  index_.Put(batch, layer);
  TRY_STATUS(Add(record, batch));
  return record.info;
}

}  // namespace hearth::store
