// The part of the snapshot store that makes records and directories agree, and checks it.
#include <utility>

#include "base/file.h"
#include "base/log.h"
#include "store/disk_snapshot_store.h"

namespace hearth::store {

struct DiskSnapshotStore::Owners {
  std::unordered_map<uint64_t, std::string> directories;  // to what it belongs
  std::unordered_map<Digest, LayerInfo> layers;
  std::unordered_map<Digest, LayerInfo> lost;
};

namespace {

// "sha256:…" of "k8s.io/17/sha256:…": containerd's clients commit a layer under its chain ID.
std::optional<Digest> ChainOf(const std::string& name) {
  const auto chain = Digest::Parse(ClientsKey(name));
  return chain.ok() ? std::optional(*chain) : std::nullopt;
}

}  // namespace

// --- at start ---

Status DiskSnapshotStore::Sweep() {
  MutexLock lock(mutex_);
  kv::Batch batch;
  Owners owners = TRY(SweepLayers(batch));
  TRY_STATUS(SweepSnapshots(owners, batch));
  SweepLost(owners, batch);
  TRY_STATUS(index_.Apply(batch, kv::Sync::kYes));
  next_number_ = TRY(index_.FirstFreeNumber());
  std::vector<std::filesystem::path> strays;
  TRY_STATUS(directories_.Walk([&](const std::filesystem::path& path,
                                   std::optional<uint64_t> number) NO_THREAD_SAFETY_ANALYSIS {
    if (number) next_number_ = std::max(next_number_, *number + 1);
    if (!number) {
      strays.push_back(path);
    } else if (!owners.directories.contains(*number)) {
      LOG_INFO("directory without a record goes", {{"path", path.string()}});
      doomed_.push_back(*number);  // it may be large: the start does not wait for it
    }
  }));
  reserved_numbers_ = next_number_;
  for (const auto& path : strays) {
    LOG_INFO("file without a record removed", {{"path", path.string()}});
    TRY_STATUS(RemoveTree(path));
  }
  return OkStatus();
}

bool DiskSnapshotStore::FromAnotherBoot(const std::string& boot_id) const {
  return boot_id != boot_id_ || boot_id_.empty();
}

Result<DiskSnapshotStore::Owners> DiskSnapshotStore::SweepLayers(kv::Batch& batch) {
  Owners owners;
  Status failed;  // then nothing is known to be missing
  TRY_STATUS(index_.ScanLayers([&](const std::string& key,
                                   const Result<LayerInfo>& layer) NO_THREAD_SAFETY_ANALYSIS {
    if (!layer.ok()) {
      LOG_WARNING("record of a layer dropped", {{"chain", key}, {"reason", layer.status()}});
      index_.RemoveLayer(batch, key);
      return true;
    }
    Status wrong = layer->directory == 0 ? NotFound("lost before, and not back yet") : OkStatus();
    if (wrong.ok()) {
      const auto there = directories_.Exists(layer->directory);
      failed = there.status();
      if (!failed.ok()) return false;
      if (!*there) wrong = NotFound("no directory");
    }
    // Its files may be there in name only.
    if (wrong.ok() && !layer->durable && FromAnotherBoot(layer->boot_id)) {
      wrong = DataLoss("the machine went down before its files were known to be on disk");
    }
    if (!wrong.ok()) {
      LOG_WARNING("layer lost", {{"chain", key}, {"reason", wrong}});
      owners.lost.emplace(layer->chain, *layer);
      return true;
    }
    if (!layer->durable) not_durable_.emplace(layer->directory, layer->chain);
    owners.directories.emplace(layer->directory, "layer " + key);
    owners.layers.emplace(layer->chain, *layer);
    return true;
  }));
  TRY_STATUS(failed);
  return owners;
}

Status DiskSnapshotStore::SweepSnapshots(Owners& owners, kv::Batch& batch) {
  for (const auto& [chain, layer] : owners.layers) {
    if (layer.parent_chain) layers_on_[*layer.parent_chain].insert(chain);
  }
  Status failed;
  TRY_STATUS(index_.ScanSnapshots(
      [&](const std::string& name, const Result<SnapshotRecord>& found) NO_THREAD_SAFETY_ANALYSIS {
        if (!found.ok()) {
          LOG_WARNING("record of a snapshot dropped", {{"name", name}, {"reason", found.status()}});
          index_.RemoveSnapshot(batch, name);
          return true;
        }
        failed = SweepSnapshot(*found, owners, batch);
        return failed.ok();
      }));
  return failed;
}

Status DiskSnapshotStore::SweepSnapshot(SnapshotRecord record, Owners& owners, kv::Batch& batch) {
  const std::string name = record.info.name;
  if (record.info.chain) {
    SweepAlias(std::move(record), owners, batch);
    return OkStatus();
  }
  const bool there = TRY(directories_.Exists(record.info.directory));
  const bool may_be_layer = record.info.kind == SnapshotKind::kCommitted && !record.remapped;
  const auto chain = may_be_layer ? ChainOf(name) : std::nullopt;
  if (!there && !chain) {
    LOG_WARNING("record of a snapshot dropped", {{"name", name}, {"reason", "no directory"}});
    index_.RemoveSnapshot(batch, name);
    return OkStatus();
  }
  const bool torn = !record.unsynced_boot.empty() && FromAnotherBoot(record.unsynced_boot);
  if (!there || (torn && chain)) {
    LOG_WARNING("snapshot lost", {{"name", name}, {"directory", there ? "may be torn" : "gone"}});
    record.info.chain = chain;  // a layer that can be unpacked again
    record.unsynced_boot.clear();
    record.usage.reset();
    SweepAlias(std::move(record), owners, batch);
    return OkStatus();
  }
  if (!record.unsynced_boot.empty()) {
    if (!torn) {
      not_durable_.emplace(record.info.directory, name);
    } else if (record.remapped) {
      // containerd makes it anew as soon as this one is removed; CheckFiles() refuses it meanwhile.
      LOG_ERROR("a user namespace's copy of a layer may have lost files when the machine went down",
                {{"name", name}});
    } else {
      // Nothing says what was in it, so that nothing better can take its place.
      LOG_WARNING("snapshot may have lost files when the machine went down", {{"name", name}});
      record.unsynced_boot.clear();
      index_.Put(batch, record);
    }
  }
  owners.directories.emplace(record.info.directory, "snapshot " + name);
  Link(record.info);
  return OkStatus();
}

void DiskSnapshotStore::SweepAlias(SnapshotRecord record, const Owners& owners, kv::Batch& batch) {
  const auto layer = owners.layers.find(*record.info.chain);
  // Without its layer it keeps its name, since containerd has it, and waits for the layer.
  const uint64_t directory = layer == owners.layers.end() ? 0 : layer->second.directory;
  if (directory != record.info.directory) {
    record.info.directory = directory;
    index_.Put(batch, record);
  }
  if (directory == 0) {
    LOG_WARNING("snapshot waits for its layer", {{"name", record.info.name}});
    lost_.insert(*record.info.chain);
  }
  Link(record.info);
}

void DiskSnapshotStore::SweepLost(Owners& owners, kv::Batch& batch) {
  const WallTime now = options_.clock.WallNow();
  for (auto& [chain, layer] : owners.lost) {
    if (LayerInUse(layer) || layer.preheated || layer.pinned_until > now) {
      layer.directory = 0;
      layer.durable = false;
      index_.Put(batch, layer);
      lost_.insert(chain);
    } else {
      index_.RemoveLayer(batch, chain.ToString());
    }
  }
}

// --- containerd anew ---

Status DiskSnapshotStore::ForgetContainerd() {
  MutexLock lock(mutex_);
  std::vector<SnapshotInfo> gone;
  std::vector<SnapshotRecord> kept;
  TRY_STATUS(index_.ScanSnapshots([&](const std::string& name, const auto& record) {
    if (!record.ok()) return true;
    if (record->info.chain) {
      gone.push_back(record->info);
    } else if (!name.starts_with("stale/")) {
      kept.push_back(*record);
    }
    return true;
  }));
  std::unordered_map<std::string, std::string> names;  // old → new, "" = it goes
  for (const auto& info : gone) names[info.name] = "";
  for (const auto& record : kept) {
    names[record.info.name] =
        "stale/" + std::to_string(record.info.directory) + "/" + record.info.name;
  }
  kv::Batch batch;
  for (const auto& info : gone) index_.RemoveSnapshot(batch, info.name);
  std::vector<SnapshotInfo> renamed;
  for (SnapshotRecord record : kept) {
    index_.RemoveSnapshot(batch, record.info.name);
    record.info.name = names[record.info.name];
    // What lay on an alias lies on nothing now, so that containerd's collector reaches it.
    if (const auto parent = names.find(record.info.parent); parent != names.end()) {
      record.info.parent = parent->second;
    }
    index_.Put(batch, record);
    renamed.push_back(record.info);
  }
  TRY_STATUS(index_.Apply(batch));
  for (const auto& info : gone) Unlink(info);
  for (const auto& record : kept) Unlink(record.info);
  for (const auto& info : renamed) {
    Link(info);
    if (const auto one = not_durable_.find(info.directory); one != not_durable_.end()) {
      one->second = info.name;
    }
  }
  ForgetUnwantedLost();
  return OkStatus();
}

// --- verification ---

void DiskSnapshotStore::CheckSnapshot(
    const SnapshotInfo& info, Owners& owners,
    const std::function<void(const std::string&)>& problem) const {
  const std::string what = "snapshot " + info.name;
  if (!info.parent.empty() && !index_.FindSnapshot(info.parent).ok()) {
    problem(what + ": its parent " + info.parent + " has no record");
  }
  if (info.chain) {
    const auto layer = owners.layers.find(*info.chain);
    if (layer == owners.layers.end()) {
      problem(what + ": its layer is missing");
    } else if (layer->second.directory != info.directory) {
      problem(what + ": names another directory than its layer");
    }
    return;
  }
  if (const auto there = directories_.Exists(info.directory); !there.ok()) {
    problem(what + ": " + there.status().message());
  } else if (!*there) {
    problem(what + ": directory " + std::to_string(info.directory) + " is missing");
  }
  const auto [owner, added] = owners.directories.emplace(info.directory, what);
  if (!added) problem(what + ": its directory belongs to " + owner->second + " too");
}

Status DiskSnapshotStore::Verify(const std::function<void(const std::string&)>& problem) const {
  MutexLock lock(mutex_);
  Owners owners;
  TRY_STATUS(index_.ScanLayers([&](const std::string& key, const Result<LayerInfo>& layer) {
    if (!layer.ok()) {
      problem(layer.status().message());
      return true;
    }
    if (layer->directory == 0) return true;  // lost; what wants it says so
    if (const auto there = directories_.Exists(layer->directory); !there.ok()) {
      problem("layer " + key + ": " + there.status().message());
    } else if (!*there) {
      problem("layer " + key + ": directory " + std::to_string(layer->directory) + " is missing");
    }
    const auto [owner, added] = owners.directories.emplace(layer->directory, "layer " + key);
    if (!added) problem("layer " + key + ": its directory belongs to " + owner->second + " too");
    owners.layers.emplace(layer->chain, *layer);
    return true;
  }));
  for (const auto& [chain, layer] : owners.layers) {
    if (layer.parent_chain && !owners.layers.contains(*layer.parent_chain)) {
      problem("layer " + chain.ToString() + ": the layer below, " + layer.parent_chain->ToString() +
              ", is missing");
    }
  }
  TRY_STATUS(index_.ScanSnapshots([&](const std::string& /*name*/, const auto& record) {
    if (record.ok()) {
      CheckSnapshot(record->info, owners, problem);
    } else {
      problem(record.status().message());
    }
    return true;
  }));
  std::unordered_set<uint64_t> known(doomed_.begin(), doomed_.end());
  known.insert(unfinished_.begin(), unfinished_.end());
  known.insert(going_.begin(), going_.end());
  return directories_.Walk([&](const std::filesystem::path& path, std::optional<uint64_t> number) {
    if (number && (owners.directories.contains(*number) || known.contains(*number))) return;
    problem(path.string() + ": no record says what it is");
  });
}

}  // namespace hearth::store
