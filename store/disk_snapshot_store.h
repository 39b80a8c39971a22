// DiskSnapshotStore: SnapshotStore over the index and directories on disk.
//
// Each directory belongs to one record: a layer's, or that of a snapshot which is no alias. Changes
// happen under one lock, in short sections: no walk of a directory, no removal of a tree, no sync
// (but one in 256 new directories, for its number).
#pragma once

#include <deque>
#include <set>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <variant>

#include "base/thread.h"
#include "store/snapshot_directories.h"
#include "store/snapshot_index.h"
#include "store/snapshot_store.h"

namespace hearth::store {

// What a client of containerd calls the snapshot: of "k8s.io/17/KEY", KEY.
inline std::string ClientsKey(const std::string& name) { return name.substr(name.rfind('/') + 1); }

class DiskSnapshotStore final : public SnapshotStore {
 public:
  DiskSnapshotStore(const Options& options, SnapshotDirectories directories);

  // Once, before anybody uses it: makes records and directories agree.
  Status Sweep();

  Result<SnapshotInfo> Create(SnapshotKind kind, const std::string& key, const std::string& parent,
                              const Labels& labels) override;
  Result<SnapshotInfo> Stat(const std::string& name) const override;
  Result<SnapshotInfo> UpdateLabels(const std::string& name, const Labels& labels,
                                    bool replace) override;
  Result<SnapshotInfo> Commit(const std::string& name, const std::string& key, const Labels& labels,
                              std::optional<Digest> layer) override;
  Status Remove(const std::string& name) override;
  Status List(const std::function<bool(const SnapshotInfo&)>& visit) const override;
  Result<SnapshotUsage> Usage(const std::string& name) override;
  Status Cleanup(std::stop_token stop) override;
  Status CheckFiles(const std::string& name) const override;
  Result<std::vector<std::filesystem::path>> Lowers(const std::string& name) const override;
  Result<SnapshotInfo> FindByRef(const std::string& ref, const std::string& parent,
                                 const std::string& ns_prefix) const override;

  Result<uint64_t> BeginLayer() override;
  Status CommitLayer(const LayerInfo& layer) override;
  void AbandonLayer(uint64_t directory) override;
  Result<LayerInfo> FindLayer(const Digest& chain) const override;
  Status ListLayers(const std::function<bool(const LayerInfo&)>& visit) const override;
  Result<std::vector<std::filesystem::path>> LayerPaths(const Digest& chain) const override;
  Status PreheatLayer(const Digest& chain, std::optional<WallTime> pinned_until) override;
  Result<bool> DropPreheatOfLayer(const Digest& chain) override;
  std::vector<uint64_t> NotDurable() const override;
  Status MarkDurable(const std::vector<uint64_t>& directories) override;
  std::vector<LayerInfo> LostLayers() const override;
  Status TouchLayer(const Digest& chain) override;
  Status EvictLayer(const Digest& chain, WallTime unused_since) override;
  Status RemoveLayer(const Digest& chain) override;
  Result<SnapshotInfo> Alias(const Digest& chain, const std::string& parent) override;

  Status Restore(const SnapshotInfo& info) override;
  Status ForgetContainerd() override;
  Status Verify(const std::function<void(const std::string&)>& problem) const override;

 private:
  struct Owners;  // which directory belongs to what

  // Removes the tree of `directory`, at a rate that leaves the disk to others; it is in `going_`.
  Status RemoveTreeOf(uint64_t directory, const std::stop_token& stop) EXCLUDES(mutex_);
  Result<uint64_t> NextNumber() REQUIRES(mutex_);
  // Never gives out the number of an alias that containerd knows.
  Status SkipNumberOf(const std::string& name) REQUIRES(mutex_);
  // kNotFound, kInvalidArgument: not committed. None for "".
  Result<std::optional<SnapshotInfo>> FindParent(const std::string& parent) const;
  // kFailedPrecondition when a snapshot on `parent` cannot be that layer.
  Status CheckFits(const LayerInfo& layer, const std::optional<SnapshotInfo>& parent) const;
  // `record` appears, with what else is in `batch`. A directory of its own goes where that fails.
  Status Add(const SnapshotRecord& record, kv::Batch& batch) REQUIRES(mutex_);
  void Link(const SnapshotInfo& info) REQUIRES(mutex_);
  void Unlink(const SnapshotInfo& info) REQUIRES(mutex_);
  bool HasChildren(const std::string& name) const REQUIRES(mutex_);
  bool LayerInUse(const LayerInfo& layer) const REQUIRES(mutex_);
  // `info` is the last alias: its layer goes if nobody wants it, and those below it that only it
  // kept. Their directories go to `doomed`.
  Status DropUnwanted(const SnapshotInfo& info, kv::Batch& batch, std::vector<LayerInfo>& dropped)
      REQUIRES(mutex_);
  void ForgetLayer(const LayerInfo& layer) REQUIRES(mutex_);
  Status RemoveLayerUnless(const Digest& chain,
                           const std::function<Status(const LayerInfo&)>& refuse);
  Result<Owners> SweepLayers(kv::Batch& batch) REQUIRES(mutex_);
  Status SweepSnapshots(Owners& owners, kv::Batch& batch) REQUIRES(mutex_);
  Status SweepSnapshot(SnapshotRecord record, Owners& owners, kv::Batch& batch) REQUIRES(mutex_);
  void SweepAlias(SnapshotRecord record, const Owners& owners, kv::Batch& batch) REQUIRES(mutex_);
  void SweepLost(Owners& owners, kv::Batch& batch) REQUIRES(mutex_);
  // Whether what was written in that boot may be there in name only.
  bool FromAnotherBoot(const std::string& boot_id) const;
  // Of lost layers, those that nothing wants any more.
  void ForgetUnwantedLost() REQUIRES(mutex_);
  void CheckSnapshot(const SnapshotInfo& info, Owners& owners,
                     const std::function<void(const std::string&)>& problem) const;

  const Options options_;
  const SnapshotDirectories directories_;
  const std::string boot_id_;
  SnapshotIndex index_;

  mutable Mutex mutex_;
  // Of all records: who lies on what.
  std::unordered_map<std::string, std::set<std::string>> children_ GUARDED_BY(mutex_);  // by parent
  std::unordered_map<Digest, std::set<std::string>> aliases_ GUARDED_BY(mutex_);        // by chain
  std::unordered_map<Digest, std::set<Digest>> layers_on_ GUARDED_BY(mutex_);  // by parent chain
  std::unordered_set<Digest> lost_ GUARDED_BY(mutex_);  // layers that are wanted
  // Layer or snapshot of each directory that is not known to be on disk.
  std::unordered_map<uint64_t, std::variant<Digest, std::string>> not_durable_ GUARDED_BY(mutex_);
  std::unordered_set<uint64_t> unfinished_ GUARDED_BY(mutex_);  // begun layers
  std::unordered_set<uint64_t> going_ GUARDED_BY(mutex_);       // being removed now
  std::deque<uint64_t> doomed_ GUARDED_BY(mutex_);              // to be removed by Cleanup()
  uint64_t next_number_ GUARDED_BY(mutex_) = 0;
  uint64_t reserved_numbers_ GUARDED_BY(mutex_) = 0;  // below this one they may be given out
};

}  // namespace hearth::store
