#include "cmd/pull_stop.h"

#include <cerrno>
#include <cstdio>
#include <utility>

#include "base/file.h"

namespace hearth::cmd {

namespace {

constexpr const char* kIngests = "ingest";
// Beside it, and so on its file system. containerd looks into blobs/ and ingest/ only.
constexpr const char* kAside = ".hearth-adopt-ingest";

bool IsThere(const std::filesystem::path& path) {
  std::error_code error;
  return std::filesystem::exists(std::filesystem::symlink_status(path, error));
}

}  // namespace

PullStop::PullStop(std::filesystem::path content_root)
    : ingests_(content_root / kIngests), aside_(content_root / kAside) {
  MutexLock lock(mutex_);
  Release();
}

PullStop::~PullStop() { End(); }

void PullStop::End() {
  MutexLock lock(mutex_);
  ended_ = true;
  Release();
}

Result<bool> PullStop::Hold() {
  MutexLock lock(mutex_);
  if (ended_) return Cancelled("stopping pulls");
  if (!IsThere(ingests_)) return false;
  // Parts of blobs only, and the clients that sent them were told no.
  if (IsThere(aside_)) TRY_STATUS(RemoveTree(aside_));
  if (::rename(ingests_.c_str(), aside_.c_str()) < 0) {
    if (errno == ENOENT) return false;
    return ErrnoStatus(errno, "rename " + ingests_.string() + ", so that nothing more is pulled");
  }
  return true;
}

void PullStop::Release() const {
  if (!IsThere(aside_)) return;
  // Fails where a containerd that started anew has begun ingests.
  if (::rename(aside_.c_str(), ingests_.c_str()) < 0) (void)RemoveTree(aside_);
}

}  // namespace hearth::cmd
