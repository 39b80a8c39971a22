// GrowingFile: a file by URL while its one download brings it, for any number of readers.
//
// The download begins it, advances it and ends it; readers look at a descriptor of their own copy
// of the file and wait without a thread. Any thread.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <stop_token>
#include <vector>

#include "base/clock.h"
#include "base/digest.h"
#include "base/file.h"
#include "base/status.h"
#include "base/thread.h"
#include "net/http_client.h"
#include "plugin/file_version.h"

namespace hearth::plugin {

class GrowingFile : public std::enable_shared_from_this<GrowingFile> {
 public:
  struct State {
    bool begun = false;  // what follows is known
    FileVersion version;
    std::shared_ptr<const Fd> file;
    uint64_t present_bytes = 0;
    std::optional<Status> ended;   // OK: whole, committed, its digest as announced
    std::optional<Digest> digest;  // of the whole file
    // What the origin answered instead of a body, for the one whose request the download made.
    std::optional<net::HttpResponse> refusal;
  };
  State state() const;
  // A copy of the few things that a reader needs each time.
  struct Glance {
    uint64_t present_bytes = 0;
    std::optional<Status> ended;
  };
  Glance glance() const;

  // --- the download ---
  // The body of `version` arrives in `file`, of which `present_bytes` are here from before. A
  // second call with another file ends the readers of the first.
  void Begin(const FileVersion& version, std::shared_ptr<const Fd> file, uint64_t present_bytes);
  void Advance(uint64_t present_bytes);
  void Refuse(net::HttpResponse refusal);
  // Once, last. `digest` where `status` is OK.
  void End(Status status, std::optional<Digest> digest);
  // Requested when nobody wants the file any more.
  std::stop_token wanted() const { return stop_.get_token(); }

  // --- readers ---
  // Keeps the download wanted while it is held.
  std::shared_ptr<void> Want();
  // The download ends now, whoever wants it.
  void Stop() { stop_.request_stop(); }
  // `wake` runs once, from any thread (also directly), when a byte at `offset_bytes` is here or the
  // file ended.
  void WhenAvailable(uint64_t offset_bytes, std::function<void()> wake);
  // Blocks until it began or ended; false at the deadline.
  bool AwaitBegin(SteadyTime deadline, std::stop_token stop);

 private:
  struct Waiter {
    uint64_t offset_bytes;
    std::function<void()> wake;
  };
  // Those whom the state of now wakes, taken out.
  std::vector<Waiter> Due() REQUIRES(mutex_);
  void LetGo();

  std::stop_source stop_;
  mutable Mutex mutex_;
  CondVar changed_;
  State state_ GUARDED_BY(mutex_);
  int wanting_ GUARDED_BY(mutex_) = 0;
  std::vector<Waiter> waiters_ GUARDED_BY(mutex_);
};

}  // namespace hearth::plugin
