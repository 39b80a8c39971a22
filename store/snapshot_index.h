// SnapshotIndex: records of snapshots and layers.
//
// Any thread. A record that cannot be read is kDataLoss. Changes are collected in a batch, so that
// the store applies all of one event or none.
#pragma once

#include <functional>
#include <optional>
#include <string>

#include "base/digest.h"
#include "base/status.h"
#include "kv/kv.h"
#include "store/snapshot_store.h"

namespace hearth::store {

struct SnapshotRecord {
  SnapshotInfo info;
  std::optional<SnapshotUsage> usage;  // of a committed snapshot once it was measured
  // Boot in which containerd wrote what it committed here, until that is known to be on disk; "" =
  // it is.
  std::string unsynced_boot = {};
  // A layer's files again, owned as a user namespace has them: its name may look like a chain ID.
  bool remapped = false;
};

class SnapshotIndex {
 public:
  explicit SnapshotIndex(kv::Kv& kv) : kv_(kv) {}

  // kNotFound.
  Result<SnapshotRecord> FindSnapshot(const std::string& name) const;
  // kNotFound also for a layer that was lost.
  Result<LayerInfo> FindLayer(const Digest& chain) const;
  // What is remembered of a layer that was lost, so that it can be what it was: its directory is 0.
  Result<LayerInfo> FindLostLayer(const Digest& chain) const;
  Status ScanSnapshots(const std::function<bool(const std::string& name,
                                                const Result<SnapshotRecord>&)>& visit) const;
  // Lost ones too.
  Status ScanLayers(
      const std::function<bool(const std::string& key, const Result<LayerInfo>&)>& visit) const;

  static void Put(kv::Batch& batch, const SnapshotRecord& record);
  static void RemoveSnapshot(kv::Batch& batch, const std::string& name);
  static void Put(kv::Batch& batch, const LayerInfo& layer);
  static void RemoveLayer(kv::Batch& batch, const std::string& key);
  Status Apply(const kv::Batch& batch, kv::Sync sync = kv::Sync::kNo);

  // Directory numbers below this one may have been given out; 1 in a new store.
  Result<uint64_t> FirstFreeNumber() const;
  // On disk when it returns.
  Status SetFirstFreeNumber(uint64_t number);

 private:
  Result<LayerInfo> FindRecord(const Digest& chain) const;

  kv::Kv& kv_;
};

}  // namespace hearth::store
