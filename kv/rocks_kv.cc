#include <rocksdb/cache.h>
#include <rocksdb/db.h>
#include <rocksdb/filter_policy.h>
#include <rocksdb/listener.h>
#include <rocksdb/options.h>
#include <rocksdb/table.h>
#include <rocksdb/write_batch.h>
#include <rocksdb/write_buffer_manager.h>

#include <algorithm>
#include <array>
#include <utility>

#include "base/file.h"
#include "kv/disk_reserve.h"
#include "kv/kv.h"

namespace hearth::kv {

namespace {

// In the order of Family. They are part of the format on disk.
constexpr std::array<const char*, kFamilies> kFamilyNames = {
    "default", "blobs",  "pieces",  "tasks", "ingests", "snapshots",
    "layers",  "chains", "sources", "pins",  "orders"};

// The index is small and its writes are rare: few threads, files and log bytes.
constexpr int kBackgroundThreads = 2;
constexpr int kMaxOpenFiles = 64;
constexpr uint64_t kMaxWalBytes = 16ull << 20;
constexpr uint64_t kMaxInfoLogBytes = 1ull << 20;
constexpr size_t kInfoLogs = 2;
constexpr uint64_t kMinMemoryBytes = 4ull << 20;
constexpr int kBloomBitsPerKey = 10;

Status ToStatus(const rocksdb::Status& status, std::string_view what) {
  if (status.ok()) return OkStatus();
  const std::string text = std::string(what) + ": " + status.ToString();
  if (status.IsNotFound()) return NotFound(text);
  if (status.IsCorruption()) return DataLoss(text);
  if (status.IsNoSpace() || status.IsMemoryLimit()) return ResourceExhausted(text);
  return Internal(text);
}

// First key behind all keys with `prefix`; "" where there is none.
std::string PrefixEnd(std::string_view prefix) {
  std::string end(prefix);
  while (!end.empty() && end.back() == '\xff') end.pop_back();
  if (!end.empty()) end.back() = static_cast<char>(static_cast<unsigned char>(end.back()) + 1);
  return end;
}

// RocksDB would look every five seconds whether a full disk has room again, and refuse to be told
// meanwhile; Write() tells it.
class NoOwnRecovery final : public rocksdb::EventListener {
 public:
  void OnErrorRecoveryBegin(rocksdb::BackgroundErrorReason /*reason*/, rocksdb::Status /*error*/,
                            bool* auto_recovery) override {
    *auto_recovery = false;
  }
};

// Blocks and memtables are charged to one cache of `memory_bytes`, memtables to a quarter of it.
rocksdb::DBOptions MakeOptions(uint64_t memory_bytes,
                               const std::shared_ptr<rocksdb::Cache>& cache) {
  rocksdb::DBOptions options;
  options.create_if_missing = true;
  options.create_missing_column_families = true;
  options.max_background_jobs = kBackgroundThreads;
  options.max_open_files = kMaxOpenFiles;
  options.max_file_opening_threads = 1;
  options.max_total_wal_size = kMaxWalBytes;
  options.max_log_file_size = kMaxInfoLogBytes;
  options.keep_log_file_num = kInfoLogs;
  options.info_log_level = rocksdb::InfoLogLevel::WARN_LEVEL;
  options.wal_recovery_mode = rocksdb::WALRecoveryMode::kPointInTimeRecovery;
  options.listeners = {std::make_shared<NoOwnRecovery>()};
  options.stats_dump_period_sec = 0;
  options.stats_persist_period_sec = 0;
  options.write_buffer_manager =
      std::make_shared<rocksdb::WriteBufferManager>(memory_bytes / 4, cache);
  return options;
}

rocksdb::ColumnFamilyOptions MakeFamilyOptions(uint64_t memory_bytes,
                                               const std::shared_ptr<rocksdb::Cache>& cache) {
  rocksdb::BlockBasedTableOptions table;
  table.block_cache = cache;
  // Not charged, they would grow with the number of records.
  table.cache_index_and_filter_blocks = true;
  table.cache_index_and_filter_blocks_with_high_priority = true;
  table.filter_policy.reset(rocksdb::NewBloomFilterPolicy(kBloomBitsPerKey));
  rocksdb::ColumnFamilyOptions options;
  options.table_factory.reset(rocksdb::NewBlockBasedTableFactory(table));
  options.write_buffer_size = memory_bytes / 16;
  options.max_write_buffer_number = 2;
  options.target_file_size_base = memory_bytes / 4;
  options.compression = rocksdb::kNoCompression;
  return options;
}

class RocksKv final : public Kv {
 public:
  RocksKv(std::unique_ptr<rocksdb::DB> db, std::vector<rocksdb::ColumnFamilyHandle*> families,
          std::unique_ptr<DiskReserve> reserve)
      : db_(std::move(db)), families_(std::move(families)), reserve_(std::move(reserve)) {}

  ~RocksKv() override {
    for (auto* family : families_) (void)db_->DestroyColumnFamilyHandle(family);
    (void)db_->Close();
  }

  Result<std::string> Get(Family family, std::string_view key) const override {
    std::string value;
    TRY_STATUS(ToStatus(db_->Get({}, Handle(family), Slice(key), &value), "read the index"));
    return value;
  }

  Status Write(const Batch& batch, Sync sync) override {
    rocksdb::WriteBatch changes;
    DiskReserve::Change kind = DiskReserve::Change::kAdds;
    for (const auto& change : batch.changes()) {
      if (change.is_delete) kind = DiskReserve::Change::kDeletes;
      const rocksdb::Status added =
          change.is_delete ? changes.Delete(Handle(change.family), change.key)
                           : changes.Put(Handle(change.family), change.key, change.value);
      TRY_STATUS(ToStatus(added, "prepare a change of the index"));
    }
    TRY_STATUS(reserve_->Admit(changes.GetDataSize(), kind));
    rocksdb::WriteOptions options;
    options.sync = sync == Sync::kYes;
    rocksdb::Status written = db_->Write(options, &changes);
    // After a full disk RocksDB refuses all writes until it is told to go on. A batch that is
    // applied twice is the same as once.
    if (!written.ok() && db_->Resume().ok()) written = db_->Write(options, &changes);
    return ToStatus(written, "write the index");
  }

  Status ScanAfter(Family family, std::string_view prefix, std::string_view after,
                   const Visit& visit) const override {
    rocksdb::ReadOptions options;
    const std::string end = PrefixEnd(prefix);
    const rocksdb::Slice end_slice(end);
    if (!end.empty()) options.iterate_upper_bound = &end_slice;
    const std::unique_ptr<rocksdb::Iterator> it(db_->NewIterator(options, Handle(family)));
    for (it->Seek(Slice(std::max(prefix, after))); it->Valid(); it->Next()) {
      if (!after.empty() && it->key().ToStringView() == after) continue;
      if (!visit(it->key().ToStringView(), it->value().ToStringView())) break;
    }
    return ToStatus(it->status(), "scan the index");
  }

 private:
  static rocksdb::Slice Slice(std::string_view text) { return {text.data(), text.size()}; }
  rocksdb::ColumnFamilyHandle* Handle(Family family) const {
    return families_[static_cast<size_t>(family)];
  }

  const std::unique_ptr<rocksdb::DB> db_;
  const std::vector<rocksdb::ColumnFamilyHandle*> families_;
  const std::unique_ptr<DiskReserve> reserve_;
};

}  // namespace

Result<std::unique_ptr<Kv>> OpenRocksKv(const RocksKvOptions& options) {
  if (options.memory_bytes < kMinMemoryBytes) {
    return InvalidArgument("index memory of " + std::to_string(options.memory_bytes) +
                           " bytes is too little; give at least " +
                           std::to_string(kMinMemoryBytes));
  }
  TRY_STATUS(MakeDirectories(options.directory, 0700));
  // Not strict: a full cache would fail reads. What exceeds it are blocks in use at the moment.
  rocksdb::LRUCacheOptions cache_options;
  cache_options.capacity = options.memory_bytes;
  cache_options.num_shard_bits = 2;
  const auto cache = rocksdb::NewLRUCache(cache_options);
  std::vector<rocksdb::ColumnFamilyDescriptor> descriptors;
  descriptors.reserve(std::size(kFamilyNames));
  for (const char* name : kFamilyNames) {
    descriptors.emplace_back(name, MakeFamilyOptions(options.memory_bytes, cache));
  }
  rocksdb::DB* db = nullptr;
  std::vector<rocksdb::ColumnFamilyHandle*> families;
  const rocksdb::Status opened =
      rocksdb::DB::Open(MakeOptions(options.memory_bytes, cache), options.directory.string(),
                        descriptors, &families, &db);
  if (opened.IsIOError() && opened.ToString().find("LOCK") != std::string::npos) {
    return FailedPrecondition("another process has the index " + options.directory.string() +
                              " open (" + opened.ToString() + "); stop it first");
  }
  TRY_STATUS(ToStatus(opened, "open the index " + options.directory.string()));
  std::unique_ptr<rocksdb::DB> owned(db);
  std::unique_ptr<DiskReserve> reserve = TRY(DiskReserve::Open(options.directory));
  return std::unique_ptr<Kv>(
      std::make_unique<RocksKv>(std::move(owned), std::move(families), std::move(reserve)));
}

}  // namespace hearth::kv
