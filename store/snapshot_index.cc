#include "store/snapshot_index.h"

#include <algorithm>
#include <charconv>

#include "store/record.pb.h"

namespace hearth::store {

namespace {

using kv::Family;
using kv::Sync;

constexpr char kNumberKey[] = "snapshots.next";

Result<SnapshotRecord> DecodeSnapshot(const std::string& name, std::string_view value) {
  record::Snapshot stored;
  if (!stored.ParseFromArray(value.data(), static_cast<int>(value.size())) || stored.kind() < 1 ||
      stored.kind() > 3) {
    return DataLoss("the record of snapshot " + name + " cannot be read");
  }
  SnapshotRecord record;
  SnapshotInfo& info = record.info;
  info.name = name;
  info.parent = stored.parent();
  info.kind = static_cast<SnapshotKind>(stored.kind());
  info.created = FromUnixNanos(stored.created_ns());
  info.updated = FromUnixNanos(stored.updated_ns());
  info.labels = {stored.labels().begin(), stored.labels().end()};
  info.directory = stored.directory();
  if (!stored.chain().empty()) info.chain = TRY(Digest::Parse(stored.chain()));
  if (stored.measured()) record.usage = {stored.usage_bytes(), stored.usage_inodes()};
  record.unsynced_boot = stored.unsynced_boot();
  record.remapped = stored.remapped();
  return record;
}

Result<LayerInfo> DecodeLayer(const std::string& key, std::string_view value) {
  record::Layer stored;
  if (!stored.ParseFromArray(value.data(), static_cast<int>(value.size()))) {
    return DataLoss("the record of layer " + key + " cannot be read");
  }
  LayerInfo layer;
  layer.chain = TRY(Digest::Parse(key));
  if (!stored.parent_chain().empty())
    layer.parent_chain = TRY(Digest::Parse(stored.parent_chain()));
  layer.diff_id = TRY(Digest::Parse(stored.diff_id()));
  layer.blob = TRY(Digest::Parse(stored.blob()));
  layer.directory = stored.directory();
  layer.tar_bytes = stored.tar_bytes();
  layer.disk_bytes = stored.disk_bytes();
  layer.inodes = stored.inodes();
  layer.preheated = stored.preheated();
  layer.pinned_until = FromUnixNanos(stored.pinned_until_ns());
  layer.durable = stored.durable();
  layer.boot_id = stored.boot_id();
  layer.created = FromUnixNanos(stored.created_ns());
  layer.last_used = std::max(layer.created, FromUnixNanos(stored.last_used_ns()));
  return layer;
}

}  // namespace

Result<SnapshotRecord> SnapshotIndex::FindSnapshot(const std::string& name) const {
  auto value = kv_.Get(Family::kSnapshots, name);
  if (value.status().code() == StatusCode::kNotFound) {
    return NotFound("snapshot " + name + " does not exist");
  }
  return DecodeSnapshot(name, TRY(std::move(value)));
}

Result<LayerInfo> SnapshotIndex::FindRecord(const Digest& chain) const {
  auto value = kv_.Get(Family::kLayers, chain.ToString());
  if (value.status().code() == StatusCode::kNotFound) {
    return NotFound("layer " + chain.ToString() + " is not in the store");
  }
  return DecodeLayer(chain.ToString(), TRY(std::move(value)));
}

Result<LayerInfo> SnapshotIndex::FindLayer(const Digest& chain) const {
  LayerInfo layer = TRY(FindRecord(chain));
  if (layer.directory == 0) return NotFound("layer " + chain.ToString() + " was lost");
  return layer;
}

Result<LayerInfo> SnapshotIndex::FindLostLayer(const Digest& chain) const {
  LayerInfo layer = TRY(FindRecord(chain));
  if (layer.directory != 0) return NotFound("layer " + chain.ToString() + " is here");
  return layer;
}

Status SnapshotIndex::ScanSnapshots(
    const std::function<bool(const std::string&, const Result<SnapshotRecord>&)>& visit) const {
  return kv_.Scan(Family::kSnapshots, "", [&](std::string_view key, std::string_view value) {
    const std::string name(key);
    return visit(name, DecodeSnapshot(name, value));
  });
}

Status SnapshotIndex::ScanLayers(
    const std::function<bool(const std::string&, const Result<LayerInfo>&)>& visit) const {
  return kv_.Scan(Family::kLayers, "", [&](std::string_view key_view, std::string_view value) {
    const std::string key(key_view);
    return visit(key, DecodeLayer(key, value));
  });
}

void SnapshotIndex::Put(kv::Batch& batch, const SnapshotRecord& record) {
  const SnapshotInfo& info = record.info;
  record::Snapshot stored;
  stored.set_parent(info.parent);
  stored.set_kind(static_cast<uint32_t>(info.kind));
  stored.set_created_ns(ToUnixNanos(info.created));
  stored.set_updated_ns(ToUnixNanos(info.updated));
  stored.mutable_labels()->insert(info.labels.begin(), info.labels.end());
  stored.set_directory(info.directory);
  if (info.chain) stored.set_chain(info.chain->ToString());
  if (record.usage) {
    stored.set_measured(true);
    stored.set_usage_bytes(record.usage->size_bytes);
    stored.set_usage_inodes(record.usage->inodes);
  }
  stored.set_unsynced_boot(record.unsynced_boot);
  stored.set_remapped(record.remapped);
  batch.Put(Family::kSnapshots, info.name, stored.SerializeAsString());
}

void SnapshotIndex::RemoveSnapshot(kv::Batch& batch, const std::string& name) {
  batch.Delete(Family::kSnapshots, name);
}

void SnapshotIndex::Put(kv::Batch& batch, const LayerInfo& layer) {
  record::Layer stored;
  if (layer.parent_chain) stored.set_parent_chain(layer.parent_chain->ToString());
  stored.set_diff_id(layer.diff_id.ToString());
  stored.set_blob(layer.blob.ToString());
  stored.set_directory(layer.directory);
  stored.set_tar_bytes(layer.tar_bytes);
  stored.set_disk_bytes(layer.disk_bytes);
  stored.set_inodes(layer.inodes);
  stored.set_preheated(layer.preheated);
  stored.set_pinned_until_ns(ToUnixNanos(layer.pinned_until));
  stored.set_durable(layer.durable);
  stored.set_boot_id(layer.boot_id);
  stored.set_created_ns(ToUnixNanos(layer.created));
  stored.set_last_used_ns(ToUnixNanos(layer.last_used));
  batch.Put(Family::kLayers, layer.chain.ToString(), stored.SerializeAsString());
}

void SnapshotIndex::RemoveLayer(kv::Batch& batch, const std::string& key) {
  batch.Delete(Family::kLayers, key);
}

Status SnapshotIndex::Apply(const kv::Batch& batch, kv::Sync sync) {
  return batch.empty() ? OkStatus() : kv_.Write(batch, sync);
}

Result<uint64_t> SnapshotIndex::FirstFreeNumber() const {
  auto stored = kv_.Get(Family::kMeta, kNumberKey);
  if (stored.status().code() == StatusCode::kNotFound) return uint64_t{1};
  const std::string text = TRY(std::move(stored));
  uint64_t number = 0;
  const auto parsed = std::from_chars(text.data(), text.data() + text.size(), number);
  if (parsed.ec != std::errc() || parsed.ptr != text.data() + text.size() || number == 0) {
    return DataLoss("the index's " + std::string(kNumberKey) + " cannot be read: \"" + text + "\"");
  }
  return number;
}

Status SnapshotIndex::SetFirstFreeNumber(uint64_t number) {
  return kv_.Put(Family::kMeta, kNumberKey, std::to_string(number), Sync::kYes);
}

}  // namespace hearth::store
