// Store: everything that a node keeps, under one root that one process holds.
#pragma once

#include <atomic>
#include <filesystem>
#include <functional>
#include <memory>
#include <stop_token>
#include <string>

#include "base/clock.h"
#include "base/file.h"
#include "base/status.h"
#include "base/thread.h"
#include "kv/kv.h"
#include "store/blob_store.h"
#include "store/ingest_store.h"
#include "store/snapshot_store.h"

namespace hearth::store {

class Store {
 public:
  struct Options {
    std::filesystem::path root;  // "/var/lib/hearth"; made when absent, 0711
    uint64_t index_memory_bytes = 32ull << 20;
    ThreadPool& cpu_pool;
    const Clock& clock = RealClock();
    Disk& disk = RealDisk();
    std::unique_ptr<kv::Kv> kv = nullptr;  // null = RocksDB under root/index
    std::string boot_id = BootId();        // "" = not known: each start is one after a power loss
  };
  // Locks the root (kFailedPrecondition names the other process), checks the store's version
  // (kFailedPrecondition for a newer one), opens and sweeps.
  static Result<std::unique_ptr<Store>> Open(Options options);
  ~Store();

  const std::filesystem::path& root() const { return root_; }
  kv::Kv& kv() { return *kv_; }
  BlobStore& blobs() { return *blobs_; }
  IngestStore& ingests() { return *ingests_; }
  SnapshotStore& snapshots() { return *snapshots_; }

  // The machine went down under a running node since Mended() was called last: records of the last
  // seconds may be gone, also of what containerd has on record. Survives restarts.
  bool NeedsMending() const { return needs_mending_; }
  Status Mended();

  // Rehashes blobs, checks records against files and directories, finds orphans; `problem` gets a
  // line each. OK means that it ran, not that it found nothing.
  Status Verify(bool repair, const std::function<void(const std::string&)>& problem,
                std::stop_token stop);

 private:
  Store() = default;
  Status NoteBoot(const std::string& boot);

  std::filesystem::path root_;
  Fd lock_;
  std::unique_ptr<kv::Kv> kv_;
  std::unique_ptr<BlobStore> blobs_;
  std::unique_ptr<IngestStore> ingests_;
  std::unique_ptr<SnapshotStore> snapshots_;
  std::atomic<bool> needs_mending_ = false;
};

}  // namespace hearth::store
