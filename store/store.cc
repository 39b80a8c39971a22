#include "store/store.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>

#include "base/log.h"

namespace hearth::store {

namespace {

constexpr char kVersionKey[] = "version";
constexpr int kVersion = 1;
constexpr char kBootKey[] = "boot";  // in which the store was opened and not closed since
constexpr char kMendKey[] = "needs_mending";
constexpr mode_t kRootMode = 0711;  // containers reach their layers through it

// The lock is the kernel's: it goes with the process, however that ends.
Result<Fd> LockRoot(const std::filesystem::path& root) {
  Fd lock = TRY(OpenFile(root / "lock", O_RDWR | O_CREAT));
  if (::flock(lock.get(), LOCK_EX | LOCK_NB) < 0) {
    if (errno != EWOULDBLOCK) return ErrnoStatus(errno, "lock " + root.string());
    const auto holder = ReadFile(root / "lock", 64);
    return FailedPrecondition("another process (pid " + (holder.ok() ? *holder : "unknown") +
                              ") has the store " + root.string() +
                              " open; stop it first or use another root");
  }
  const std::string pid = std::to_string(::getpid());
  if (::ftruncate(lock.get(), 0) < 0) return ErrnoStatus(errno, "lock " + root.string());
  TRY_STATUS(WriteAllAt(lock.get(), pid, 0));
  return lock;
}

Status CheckVersion(kv::Kv& kv, const std::filesystem::path& root) {
  const auto stored = kv.Get(kv::Family::kMeta, kVersionKey);
  if (stored.status().code() == StatusCode::kNotFound) {
    return kv.Put(kv::Family::kMeta, kVersionKey, std::to_string(kVersion), kv::Sync::kYes);
  }
  const std::string text = TRY(stored);
  int version = 0;
  const auto parsed = std::from_chars(text.data(), text.data() + text.size(), version);
  if (parsed.ec != std::errc() || parsed.ptr != text.data() + text.size() || version < 1) {
    return DataLoss("the version of the store " + root.string() + " cannot be read: \"" + text +
                    "\"");
  }
  if (version > kVersion) {
    return FailedPrecondition("the store " + root.string() + " has version " + text +
                              ", this program knows versions up to " + std::to_string(kVersion) +
                              "; use the program that wrote it, or a newer one");
  }
  return OkStatus();
}

}  // namespace

Result<std::unique_ptr<Store>> Store::Open(Options options) {
  TRY_STATUS(MakeDirectories(options.root, kRootMode));
  std::unique_ptr<Store> store(new Store());
  store->root_ = std::filesystem::absolute(options.root);
  store->lock_ = TRY(LockRoot(store->root_));
  store->kv_ = std::move(options.kv);
  if (store->kv_ == nullptr) {
    store->kv_ = TRY(kv::OpenRocksKv(
        {.directory = store->root_ / "index", .memory_bytes = options.index_memory_bytes}));
  }
  kv::Kv& kv = *store->kv_;
  TRY_STATUS(CheckVersion(kv, store->root_));
  TRY_STATUS(store->NoteBoot(options.boot_id));
  store->blobs_ = TRY(BlobStore::Open({.root = store->root_,
                                       .kv = kv,
                                       .cpu_pool = options.cpu_pool,
                                       .clock = options.clock,
                                       .disk = options.disk}));
  store->ingests_ = TRY(IngestStore::Open({.root = store->root_,
                                           .kv = kv,
                                           .blobs = *store->blobs_,
                                           .clock = options.clock,
                                           .disk = options.disk}));
  store->snapshots_ = TRY(SnapshotStore::Open({.root = store->root_,
                                               .kv = kv,
                                               .clock = options.clock,
                                               .disk = options.disk,
                                               .boot_id = options.boot_id}));
  return store;
}

// The reverse of how they were made: each uses some of those before it.
Store::~Store() {
  const bool whole = snapshots_ != nullptr;
  snapshots_.reset();
  ingests_.reset();
  blobs_.reset();
  if (whole) {
    const Status closed = kv_->Delete(kv::Family::kMeta, kBootKey, kv::Sync::kYes);
    if (!closed.ok()) LOG_WARNING("the store's end was not noted", {{"error", closed}});
  }
  kv_.reset();
}

Status Store::NoteBoot(const std::string& boot) {
  const auto before = kv_->Get(kv::Family::kMeta, kBootKey);
  const auto mend = kv_->Get(kv::Family::kMeta, kMendKey);
  for (const auto* read : {&before, &mend}) {
    if (!read->ok() && read->status().code() != StatusCode::kNotFound) return read->status();
  }
  kv::Batch batch;
  needs_mending_ = mend.ok();
  if (before.ok() && (*before != boot || boot.empty())) {
    LOG_WARNING("the machine went down while the node ran; what that took is brought back");
    batch.Put(kv::Family::kMeta, kMendKey, "1");
    needs_mending_ = true;
  }
  if (!before.ok() || *before != boot) batch.Put(kv::Family::kMeta, kBootKey, boot);
  return batch.empty() ? OkStatus() : kv_->Write(batch, kv::Sync::kYes);
}

Status Store::Mended() {
  needs_mending_ = false;
  return kv_->Delete(kv::Family::kMeta, kMendKey, kv::Sync::kYes);
}

Status Store::Verify(bool repair, const std::function<void(const std::string&)>& problem,
                     std::stop_token stop) {
  TRY_STATUS(blobs_->Verify(repair, problem, stop));
  TRY_STATUS(ingests_->Verify(problem));
  return snapshots_->Verify(problem);
}

}  // namespace hearth::store
