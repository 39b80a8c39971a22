// The part of the blob store that removes, evicts and verifies.
#include <algorithm>
#include <filesystem>
#include <vector>

#include "store/disk_blob_store.h"

namespace hearth::store {

namespace {

constexpr size_t kMaxUses = 65'536;

}  // namespace

Status DiskBlobStore::Remove(const Digest& digest) {
  std::shared_ptr<GrowingBlob> growing;
  {
    const DigestLocks::Hold held(digest_locks_, digest);
    growing = Growing(digest);
    const auto info = index_.Find(digest);
    if (growing == nullptr && info.status().code() == StatusCode::kNotFound &&
        index_.FindPieces(digest).status().code() == StatusCode::kNotFound) {
      return info.status();
    }
    TRY_STATUS(RemoveHeld(digest));
  }
  if (growing != nullptr) {
    growing->Abandon(Aborted("blob " + digest.ToString() + " was removed while it was fetched"));
  }
  return OkStatus();
}

// First the record, so that a crash leaves a file that the next start sweeps.
Status DiskBlobStore::RemoveHeld(const Digest& digest) {
  TRY_STATUS(index_.Remove(digest));
  {
    MutexLock lock(mutex_);
    open_.Erase(digest);
    growing_.erase(digest);
    uses_.erase(digest);
  }
  return files_.Remove(digest);
}

// --- uses, eviction ---

void DiskBlobStore::NoteUse(const Digest& digest) {
  if (uses_.size() < kMaxUses || uses_.contains(digest)) uses_[digest] = options_.clock.WallNow();
}

Status DiskBlobStore::RecordUses() {
  std::unordered_map<Digest, WallTime> uses;
  {
    MutexLock lock(mutex_);
    uses.swap(uses_);
  }
  Status recorded;
  for (auto it = uses.begin(); it != uses.end() && recorded.ok();) {
    recorded = RecordUse(it->first, it->second);
    if (recorded.ok()) it = uses.erase(it);
  }
  // Those that are not recorded wait for the next time.
  MutexLock lock(mutex_);
  for (const auto& [digest, used] : uses) {
    if (uses_.size() < kMaxUses) uses_.try_emplace(digest, used);
  }
  return recorded;
}

Status DiskBlobStore::RecordUse(const Digest& digest, WallTime used) {
  const DigestLocks::Hold held(digest_locks_, digest);
  auto info = index_.Find(digest);
  if (!info.ok() || UsedSince(info->last_used, used - kUseGranularity, used)) return OkStatus();
  info->last_used = used;
  return index_.Put(*info);
}

Status DiskBlobStore::Evict(const Digest& digest, WallTime unused_since) {
  const DigestLocks::Hold held(digest_locks_, digest);
  const auto busy = [&](const char* why) {
    return FailedPrecondition("blob " + digest.ToString() + " " + why);
  };
  if (Growing(digest) != nullptr) return busy("is being fetched");
  const auto info = index_.Find(digest);
  WallTime used;
  if (info.ok()) {
    if (info->claimed) return busy("is in use by containerd");
    MutexLock maps(mutex_);
    const auto* open = open_.Peek(digest);
    if (open != nullptr && open->use_count() > 1) return busy("is being read");
    const auto noted = uses_.find(digest);
    used = noted == uses_.end() ? info->last_used : std::max(info->last_used, noted->second);
  } else if (info.status().code() == StatusCode::kNotFound) {
    used = TRY(files_.LastWritten(digest));
  } else {
    return info.status();
  }
  if (UsedSince(used, unused_since, options_.clock.WallNow())) return busy("was used lately");
  return RemoveHeld(digest);
}

Status DiskBlobStore::Verify(bool repair, const std::function<void(const std::string&)>& problem,
                             std::stop_token stop) {
  std::vector<Digest> wrong;
  TRY_STATUS(index_.Scan([&](const std::string& key, const Result<BlobInfo>& info) {
    if (stop.stop_requested()) return false;
    const Status status =
        info.ok() ? files_.Check(info->digest, info->size_bytes, stop) : info.status();
    if (status.ok() || status.code() == StatusCode::kCancelled) return true;
    if (info.ok() && index_.Find(info->digest).status().code() == StatusCode::kNotFound) {
      return true;  // removed meanwhile
    }
    problem("blob " + key + ": " + status.message());
    if (const auto digest = Digest::Parse(key); digest.ok()) wrong.push_back(*digest);
    return true;
  }));
  TRY_STATUS(files_.Walk([&](const std::filesystem::path& path, const Digest* digest) {
    if (digest == nullptr) {
      problem(path.string() + ": not a file of ours");
      return;
    }
    const DigestLocks::Hold held(digest_locks_, *digest);
    if (index_.Find(*digest).status().code() == StatusCode::kNotFound &&
        index_.FindPieces(*digest).status().code() == StatusCode::kNotFound &&
        std::filesystem::exists(path)) {
      problem(path.string() + ": no record says what it is");
    }
  }));
  if (stop.stop_requested()) return Cancelled("verification");
  for (const auto& digest : wrong) {
    if (repair) TRY_STATUS(Remove(digest));
  }
  return OkStatus();
}

}  // namespace hearth::store
