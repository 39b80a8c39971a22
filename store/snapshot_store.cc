#include "store/snapshot_store.h"

#include <utility>

#include "base/file.h"
#include "store/disk_snapshot_store.h"

namespace hearth::store {

namespace {

// Given out in runs, so that one sync serves many.
constexpr uint64_t kNumbersPerSync = 256;

void ChangeLabels(Labels& labels, const Labels& changes, bool replace) {
  if (replace) labels.clear();
  for (const auto& [key, value] : changes) {
    if (value.empty()) {
      labels.erase(key);
    } else {
      labels[key] = value;
    }
  }
}

std::string LabelOr(const Labels& labels, const char* name) {
  const auto found = labels.find(name);
  return found == labels.end() ? "" : found->second;
}

}  // namespace

std::filesystem::path SnapshotStore::FsPath(uint64_t directory) const {
  return root_ / "snapshots" / std::to_string(directory) / "fs";
}

std::filesystem::path SnapshotStore::WorkPath(uint64_t directory) const {
  return root_ / "snapshots" / std::to_string(directory) / "work";
}

Result<std::unique_ptr<SnapshotStore>> SnapshotStore::Open(Options options) {
  SnapshotDirectories directories = TRY(SnapshotDirectories::Open(options.root, options.disk));
  auto store = std::make_unique<DiskSnapshotStore>(options, std::move(directories));
  TRY_STATUS(store->Sweep());
  return std::unique_ptr<SnapshotStore>(std::move(store));
}

DiskSnapshotStore::DiskSnapshotStore(const Options& options, SnapshotDirectories directories)
    : SnapshotStore(options.root),
      options_(options),
      directories_(std::move(directories)),
      boot_id_(options.boot_id),
      index_(options.kv) {}

// --- who lies on what ---

Status DiskSnapshotStore::Add(const SnapshotRecord& record, kv::Batch& batch) {
  index_.Put(batch, record);
  const Status put = index_.Apply(batch);
  if (put.ok()) {
    Link(record.info);
  } else if (!record.info.chain) {
    doomed_.push_back(record.info.directory);
  }
  return put;
}

void DiskSnapshotStore::Link(const SnapshotInfo& info) {
  children_[info.parent].insert(info.name);
  if (info.chain) aliases_[*info.chain].insert(info.name);
}

void DiskSnapshotStore::Unlink(const SnapshotInfo& info) {
  const auto erase = [&](auto& map, const auto& key) {
    const auto found = map.find(key);
    if (found == map.end()) return;
    found->second.erase(info.name);
    if (found->second.empty()) map.erase(found);
  };
  erase(children_, info.parent);
  if (info.chain) erase(aliases_, *info.chain);
}

bool DiskSnapshotStore::HasChildren(const std::string& name) const {
  return children_.contains(name);
}

Result<uint64_t> DiskSnapshotStore::NextNumber() {
  if (next_number_ == reserved_numbers_) {
    // A number must not come back after a power loss: an old record could name its directory.
    TRY_STATUS(index_.SetFirstFreeNumber(reserved_numbers_ + kNumbersPerSync));
    reserved_numbers_ += kNumbersPerSync;
  }
  return next_number_++;
}

Result<std::optional<SnapshotInfo>> DiskSnapshotStore::FindParent(const std::string& parent) const {
  if (parent.empty()) return std::optional<SnapshotInfo>();
  auto found = index_.FindSnapshot(parent);
  if (found.status().code() == StatusCode::kNotFound) {
    return NotFound("parent snapshot " + parent +
                    " does not exist (if the store was lost: hearth repair)");
  }
  if (!found.ok()) return found.status();
  if (found->info.kind != SnapshotKind::kCommitted) {
    return InvalidArgument("parent snapshot " + parent + " is not committed");
  }
  return std::optional(std::move(found->info));
}

// --- snapshots ---

Result<SnapshotInfo> DiskSnapshotStore::Create(SnapshotKind kind, const std::string& key,
                                               const std::string& parent, const Labels& labels) {
  if (key.empty()) return InvalidArgument("a snapshot needs a key");
  if (kind == SnapshotKind::kCommitted) {
    return InvalidArgument("snapshot " + key + " cannot be created committed");
  }
  MutexLock lock(mutex_);
  const Status there = index_.FindSnapshot(key).status();
  if (there.ok()) return AlreadyExists("snapshot " + key + " exists");
  if (there.code() != StatusCode::kNotFound) return there;
  const auto below = TRY(FindParent(parent));
  if (below) TRY_STATUS(CheckFiles(parent));
  if (below && !TRY(directories_.Exists(below->directory))) {
    return FailedPrecondition("the files of parent snapshot " + parent +
                              " were lost (restart hearth, which brings them back)");
  }
  SnapshotRecord record;
  record.info.name = key;
  record.info.parent = parent;
  record.info.kind = kind;
  record.info.created = record.info.updated = options_.clock.WallNow();
  ChangeLabels(record.info.labels, labels, true);
  record.info.directory = TRY(NextNumber());
  TRY_STATUS(directories_.Make(record.info.directory, below ? below->directory : 0));
  kv::Batch batch;
  TRY_STATUS(Add(record, batch));
  return record.info;
}

Result<SnapshotInfo> DiskSnapshotStore::Stat(const std::string& name) const {
  return TRY(index_.FindSnapshot(name)).info;
}

Result<SnapshotInfo> DiskSnapshotStore::UpdateLabels(const std::string& name, const Labels& labels,
                                                     bool replace) {
  MutexLock lock(mutex_);
  SnapshotRecord record = TRY(index_.FindSnapshot(name));
  ChangeLabels(record.info.labels, labels, replace);
  record.info.updated = options_.clock.WallNow();
  kv::Batch batch;
  index_.Put(batch, record);
  TRY_STATUS(index_.Apply(batch));
  return record.info;
}

Result<SnapshotInfo> DiskSnapshotStore::Commit(const std::string& name, const std::string& key,
                                               const Labels& labels, std::optional<Digest> layer) {
  if (name.empty()) return InvalidArgument("a committed snapshot needs a name");
  MutexLock lock(mutex_);
  const Status there = index_.FindSnapshot(name).status();
  if (there.ok()) return AlreadyExists("snapshot " + name + " exists");
  if (there.code() != StatusCode::kNotFound) return there;
  const SnapshotInfo active = TRY(index_.FindSnapshot(key)).info;
  if (active.kind != SnapshotKind::kActive) {
    return FailedPrecondition("snapshot " + key + " is not active");
  }
  SnapshotRecord record{active, std::nullopt};
  record.info.name = name;
  record.info.kind = SnapshotKind::kCommitted;
  record.info.created = record.info.updated = options_.clock.WallNow();
  ChangeLabels(record.info.labels, labels, true);
  if (layer) {
    const auto found = index_.FindLayer(*layer);
    if (!found.ok()) return FailedPrecondition(found.status().message());
    TRY_STATUS(CheckFits(*found, TRY(FindParent(active.parent))));
    record.info.chain = *layer;
    record.info.directory = found->directory;
  } else {
    record.unsynced_boot = boot_id_.empty() ? "unknown" : boot_id_;
    // As containerd's clients name it, 1.x by CHAIN-uid-gid and 2.x by a digest of both.
    record.remapped = ClientsKey(key) == ClientsKey(name) + "-remap";
  }
  kv::Batch batch;
  index_.RemoveSnapshot(batch, key);
  index_.Put(batch, record);
  TRY_STATUS(index_.Apply(batch));
  Unlink(active);
  Link(record.info);
  if (layer) {
    doomed_.push_back(active.directory);
  } else {
    not_durable_.emplace(active.directory, name);
  }
  return record.info;
}

Status DiskSnapshotStore::Remove(const std::string& name) {
  MutexLock lock(mutex_);
  const SnapshotInfo info = TRY(index_.FindSnapshot(name)).info;
  if (HasChildren(name)) {
    return FailedPrecondition("cannot remove snapshot with child: " + name);
  }
  kv::Batch batch;
  index_.RemoveSnapshot(batch, name);
  std::vector<LayerInfo> dropped;
  if (info.chain) TRY_STATUS(DropUnwanted(info, batch, dropped));
  TRY_STATUS(index_.Apply(batch));
  Unlink(info);
  if (!info.chain) {
    not_durable_.erase(info.directory);
    doomed_.push_back(info.directory);
  }
  for (const auto& layer : dropped) ForgetLayer(layer);
  if (info.chain && info.directory == 0) ForgetUnwantedLost();
  return OkStatus();
}

Status DiskSnapshotStore::List(const std::function<bool(const SnapshotInfo&)>& visit) const {
  return index_.ScanSnapshots([&](const std::string& /*name*/, const auto& record) {
    return record.ok() ? visit(record->info) : true;
  });
}

Result<SnapshotUsage> DiskSnapshotStore::Usage(const std::string& name) {
  const SnapshotRecord record = TRY(index_.FindSnapshot(name));
  if (record.usage) return *record.usage;
  if (record.info.chain) {
    if (const auto layer = index_.FindLayer(*record.info.chain); layer.ok()) {
      return SnapshotUsage{layer->disk_bytes, layer->inodes};
    }
  }
  if (record.info.directory == 0) {
    if (record.info.chain) {
      const auto lost = index_.FindLostLayer(*record.info.chain);
      if (lost.ok()) return SnapshotUsage{lost->disk_bytes, lost->inodes};
    }
    return Unavailable("the files of snapshot " + name + " are being brought back");
  }
  const SnapshotUsage usage = TRY(directories_.Measure(record.info.directory));
  if (record.info.kind != SnapshotKind::kCommitted) return usage;
  MutexLock lock(mutex_);
  auto now = index_.FindSnapshot(name);
  if (now.ok() && now->info.directory == record.info.directory) {
    now->usage = usage;
    kv::Batch batch;
    index_.Put(batch, *now);
    (void)index_.Apply(batch);  // else it is measured again
  }
  return usage;
}

Status DiskSnapshotStore::Cleanup(std::stop_token stop) {
  Status first;
  std::vector<uint64_t> stuck;
  while (!stop.stop_requested()) {
    uint64_t directory = 0;
    {
      MutexLock lock(mutex_);
      if (doomed_.empty()) break;
      directory = doomed_.front();
      doomed_.pop_front();
      going_.insert(directory);
    }
    const Status removed = RemoveTreeOf(directory, stop);
    if (removed.ok()) {
      MutexLock lock(mutex_);
      going_.erase(directory);
    } else {
      stuck.push_back(directory);
      if (first.ok()) first = removed;
    }
  }
  MutexLock lock(mutex_);
  for (const uint64_t directory : stuck) {
    going_.erase(directory);
    doomed_.push_back(directory);
  }
  return stop.stop_requested() ? Cancelled("the cleanup of removed snapshots") : first;
}

Status DiskSnapshotStore::RemoveTreeOf(uint64_t directory, const std::stop_token& stop) {
  return directories_.Remove(directory, stop, [this](const std::stop_token& stopping) {
    bool unpacking = false;
    {
      MutexLock lock(mutex_);
      unpacking = !unfinished_.empty();
    }
    options_.pause(unpacking ? kRemovalPauseBesideUnpacks : kRemovalPause, stopping);
  });
}

Status DiskSnapshotStore::CheckFiles(const std::string& name) const {
  for (std::string next = name; !next.empty();) {
    const SnapshotRecord record = TRY(index_.FindSnapshot(next));
    if (record.info.directory == 0) {
      return FailedPrecondition("the files of snapshot " + next + " were lost at a power failure");
    }
    if (!record.unsynced_boot.empty() && FromAnotherBoot(record.unsynced_boot)) {
      return FailedPrecondition("snapshot " + next +
                                " may have lost files at a power failure (remove it with ctr "
                                "snapshots rm; containerd then makes it anew)");
    }
    next = record.info.parent;
  }
  return OkStatus();
}

Result<std::vector<std::filesystem::path>> DiskSnapshotStore::Lowers(
    const std::string& name) const {
  std::vector<std::filesystem::path> lowers;
  std::string parent = TRY(index_.FindSnapshot(name)).info.parent;
  while (!parent.empty()) {
    const SnapshotInfo info =
        TRY(index_.FindSnapshot(parent).Annotate("below snapshot " + name)).info;
    if (info.directory == 0) {
      return FailedPrecondition("below snapshot " + name + ": the files of " + parent +
                                " were lost at a power failure");
    }
    lowers.push_back(FsPath(info.directory));
    parent = info.parent;
  }
  return lowers;
}

Result<SnapshotInfo> DiskSnapshotStore::FindByRef(const std::string& ref, const std::string& parent,
                                                  const std::string& ns_prefix) const {
  MutexLock lock(mutex_);
  if (const auto children = children_.find(parent); children != children_.end()) {
    for (const auto& name : children->second) {
      const auto record = index_.FindSnapshot(name);
      if (!record.ok()) continue;
      const SnapshotInfo& info = record->info;
      const bool shared = info.chain || name.starts_with(ns_prefix);
      if (shared && info.kind == SnapshotKind::kCommitted && info.directory != 0 &&
          LabelOr(info.labels, kSnapshotRefLabel) == ref) {
        return info;
      }
    }
  }
  return NotFound("no committed snapshot " + ref + " on \"" + parent + "\"");
}

}  // namespace hearth::store
