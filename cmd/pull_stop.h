// PullStop: keeps containerd's built-in content store from taking new blobs, so that what was
// copied of it last is all of it. What it has can still be read.
//
// The store's ingest directory gets another name: then no ingest can be begun, and one that is
// under way cannot be committed. The client that pulls is told, and asks again later, as kubelet
// does. Where we are killed meanwhile, a containerd that starts anew makes a directory of its own,
// and the next PullStop gives the old one back, or clears it away.
//
// One of a store at a time, one thread at a time but for End().
#pragma once

#include <filesystem>

#include "base/status.h"
#include "base/thread.h"

namespace hearth::cmd {

class PullStop {
 public:
  // Of the store at `content_root`; from then on nothing is held, until Hold().
  explicit PullStop(std::filesystem::path content_root);
  // Ingests can be begun, and those under way go on.
  ~PullStop();
  PullStop(const PullStop&) = delete;
  PullStop& operator=(const PullStop&) = delete;

  // True: from now on nothing is taken; copy once more. False: nothing was taken since the last
  // call, nor will be. A containerd that began no ingest since its start makes the directory anew
  // when it begins its first, so this is asked until it says false.
  Result<bool> Hold();
  // As the destructor, from any thread: from then on Hold() says kCancelled.
  void End();

 private:
  void Release() const REQUIRES(mutex_);

  const std::filesystem::path ingests_;
  const std::filesystem::path aside_;
  Mutex mutex_;
  bool ended_ GUARDED_BY(mutex_) = false;
};

}  // namespace hearth::cmd
