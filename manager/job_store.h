// JobStore: jobs as the manager's store keeps them. docs/formats.md has the records.
//
// A job's head (what was asked, and how it stands), a record per target and one per task. Writes
// are left to the caller's order; any thread.
#pragma once

#include <functional>
#include <span>
#include <string>
#include <vector>

#include "base/status.h"
#include "kv/kv.h"
#include "manager/job.h"

namespace hearth::manager {

class JobStore {
 public:
  // `kv` must outlive it.
  explicit JobStore(kv::Kv& kv) : kv_(kv) {}

  // The number that no job has had yet; written down.
  Result<JobId> NextId();
  // Whole jobs, all of them or none; survives a power loss.
  Status Create(std::span<const Job> jobs);
  // The whole job in place of what was written of it.
  Status Replace(const Job& job);
  // Its head, and the targets that wait; the others and the tasks stay as they are written.
  Status SaveRound(const Job& job);
  Status SaveHead(const Job& job);
  Status SaveHeads(std::span<const Job> jobs);  // all of them or none
  // The target and the tasks that it names from number `first_task` on.
  Status SaveTarget(const Job& job, size_t target, size_t first_task);

  // Heads only, without targets and tasks, in order of ID. kDataLoss: which record cannot be read.
  // `take` must not use the store.
  Status ForHeads(const std::function<void(const Job& head)>& take) const;
  Result<Job> Head(JobId id) const;  // kNotFound
  // kNotFound.
  Result<Job> Load(JobId id) const;
  Result<std::vector<JobTask>> Tasks(JobId id) const;
  // kNotFound.
  Status Remove(JobId id);

 private:
  Status DeleteParts(JobId id, kv::Batch& batch) const;
  // Writes `batch` and these jobs at once.
  Status Put(std::span<const Job> jobs, kv::Batch& batch);

  kv::Kv& kv_;
};

}  // namespace hearth::manager
