// JobFeed: in what order jobs changed since the manager's start, and who waits for the next change.
//
// Each change gives its job a new revision, and only a job's latest one is kept: who missed some
// reads how the job stands now, so that a slow reader holds up nobody and needs no queue. Any
// thread.
#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/status.h"
#include "base/thread.h"
#include "manager/job.h"

namespace hearth::manager {

class JobFeed {
 public:
  static constexpr size_t kMaxReaders = 256;    // streams and long polls
  static constexpr size_t kMaxRemoved = 1'024;  // removals that are remembered

  using Revision = uint64_t;

  // Told that there is something to read. It must neither block nor call the one that changed it.
  class Watcher {
   public:
    virtual ~Watcher() = default;
    virtual void Changed() = 0;
  };

  JobFeed();

  void Changed(JobId id) EXCLUDES(mutex_);
  void Removed(JobId id) EXCLUDES(mutex_);

  Revision Last() const EXCLUDES(mutex_);
  Revision Of(JobId id) const EXCLUDES(mutex_);  // 0: not changed since the start
  struct Change {
    Revision revision = 0;
    JobId job = 0;
    bool removed = false;
  };
  struct Changes {
    std::vector<Change> list;  // each job's latest, oldest first
    bool lost = false;         // some removals are not known any more
  };
  Changes After(Revision revision, size_t limit) const EXCLUDES(mutex_);

  // Names a revision of this process: "3f0c9d1a5b7e2846-17".
  std::string NameOf(Revision revision) const;
  // None: of another process, or no such name.
  std::optional<Revision> Parse(std::string_view name) const EXCLUDES(mutex_);

  // Of one job, or of all. Kept weakly; one that goes says so with Sweep().
  void Watch(const std::shared_ptr<Watcher>& watcher, std::optional<JobId> job) EXCLUDES(mutex_);
  // Forgets the watchers of `job`, or of all, that are gone.
  void Sweep(std::optional<JobId> job) EXCLUDES(mutex_);
  size_t watched_jobs() const EXCLUDES(mutex_);
  // A place among the readers, free again when the last copy is dropped. kResourceExhausted: all
  // are taken; kUnavailable: the manager stops.
  Result<std::shared_ptr<void>> Enter();
  size_t readers() const { return *readers_; }

  // The manager stops: every reader is told, and ends.
  void End() EXCLUDES(mutex_);
  bool ended() const { return ended_; }

 private:
  using Watchers = std::vector<std::weak_ptr<Watcher>>;

  void Tell(JobId id, bool removed) EXCLUDES(mutex_);

  const std::string process_;
  const std::shared_ptr<std::atomic<size_t>> readers_;  // outlived by places
  std::atomic<bool> ended_ = false;
  mutable Mutex mutex_;
  Revision last_ GUARDED_BY(mutex_) = 0;
  std::unordered_map<JobId, Revision> revisions_ GUARDED_BY(mutex_);
  std::map<Revision, JobId> changes_ GUARDED_BY(mutex_);
  std::deque<std::pair<Revision, JobId>> removed_ GUARDED_BY(mutex_);
  Revision forgotten_ GUARDED_BY(mutex_) = 0;  // of the latest removal that is not remembered
  std::unordered_map<JobId, Watchers> watchers_ GUARDED_BY(mutex_);
  Watchers watchers_of_all_ GUARDED_BY(mutex_);
};

}  // namespace hearth::manager
