// The part of the snapshot store that takes back snapshots whose records were lost.
#include <charconv>
#include <utility>

#include "store/disk_snapshot_store.h"

namespace hearth::store {

namespace {

constexpr std::string_view kAliasPrefix = "hearth/";
// Numbers that no restored name can ask for: what is larger was never given out.
constexpr uint64_t kMaxNumber = uint64_t{1} << 62;
constexpr uint64_t kNumbersPerSync = 256;

}  // namespace

Status DiskSnapshotStore::SkipNumberOf(const std::string& name) {
  if (!name.starts_with(kAliasPrefix)) return OkStatus();
  uint64_t number = 0;
  const auto parsed =
      std::from_chars(name.data() + kAliasPrefix.size(), name.data() + name.size(), number);
  if (parsed.ec != std::errc() || number < next_number_ || number > kMaxNumber) return OkStatus();
  if (number >= reserved_numbers_) {
    const uint64_t reserved = number + 1 + kNumbersPerSync;
    TRY_STATUS(index_.SetFirstFreeNumber(reserved));
    reserved_numbers_ = reserved;
  }
  next_number_ = number + 1;
  return OkStatus();
}

Status DiskSnapshotStore::Restore(const SnapshotInfo& info) {
  if (info.name.empty()) return InvalidArgument("a snapshot needs a name");
  if (info.kind == SnapshotKind::kCommitted && !info.chain) {
    return InvalidArgument("snapshot " + info.name + ": nothing says what was in it");
  }
  MutexLock lock(mutex_);
  const Status there = index_.FindSnapshot(info.name).status();
  if (there.ok()) return AlreadyExists("snapshot " + info.name + " exists");
  if (there.code() != StatusCode::kNotFound) return there;
  const auto below = TRY(FindParent(info.parent));
  if (below && !TRY(directories_.Exists(below->directory))) {
    return FailedPrecondition("parent snapshot " + info.parent + " has no files");
  }
  TRY_STATUS(SkipNumberOf(info.name));
  SnapshotRecord record{info, std::nullopt};
  if (info.chain) {
    const LayerInfo layer = TRY(index_.FindLayer(*info.chain));
    TRY_STATUS(CheckFits(layer, below));
    record.info.directory = layer.directory;
    record.info.labels.try_emplace(kSnapshotRefLabel, info.chain->ToString());
  } else {
    record.info.directory = TRY(NextNumber());
    TRY_STATUS(directories_.Make(record.info.directory, below ? below->directory : 0));
  }
  kv::Batch batch;
  return Add(record, batch);
}

}  // namespace hearth::store
