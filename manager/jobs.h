// Jobs: which node gets its order when, and how each job ends.
//
// Plain state: events and the time in, actions out; no I/O, no clock, no lock. It holds the jobs
// that are under way; its owner writes down what the actions say and removes those that ended.
//
// A job's target waits until its node is there and one of the job's slots is free, then runs until
// the node reports. A higher priority goes first, then who came first. A node that goes away keeps
// its order and gives up its slot. SUCCESS means that every target reported each of its copies as
// verified, but for what failure_tolerate allows. A pull job's time runs per node, and it starts no
// new node once too many have failed.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/clock.h"
#include "base/status.h"
#include "manager/job.h"
#include "manager/rate_meter.h"
#include "manager/text_pool.h"

namespace hearth::manager {

struct JobAction {
  enum class Kind : uint8_t {
    kSend,        // the order to the target's node
    kCancel,      // the node is to stop
    kSaveTarget,  // write the target down
    kSaveJob,     // write the job's head down; one whose state is not PENDING has ended
    kShow,        // it looks otherwise than before
  };
  Kind kind = Kind::kSend;
  JobId job = 0;
  size_t target = 0;  // of all but kSaveJob and kShow
  // Of kCancel, whose job may be gone:
  uint32_t attempt = 0;
  std::string uid = {};
  std::string node_id = {};
};

// What a node says of one item.
struct ItemOutcome {
  Status status = {};  // OK: all copies are verified
  std::vector<JobTask> copies = {};
  TargetBytes bytes = {};
  std::string depth = {};
};

class Jobs {
 public:
  static constexpr size_t kMaxActive = 1'000;
  static constexpr size_t kMaxTasksPerJob = 65'536;               // that are listed
  static constexpr size_t kMaxTasksOfNode = 16'384;               // of them, named by it first
  static constexpr size_t kMaxTextBytes = 16 << 20;               // of all failures together
  static constexpr size_t kMaxOrdersPerNode = 16;                 // of all jobs at once
  static constexpr std::chrono::milliseconds kFirstRetry{1'000};  // doubles up to …
  static constexpr std::chrono::milliseconds kLastRetry{60'000};

  // A new job, or one from before a restart. kResourceExhausted: kMaxActive. kAlreadyExists.
  Status Add(Job job);
  const Job* Find(JobId id) const;
  // Takes it out; what runs is cancelled. Nothing where there is none.
  void Remove(JobId id);
  std::vector<JobId> Ids() const;

  void Online(const std::string& node_id);
  void Offline(const std::string& node_id);
  // Its share of every job fails with `why`.
  void Drain(const std::string& node_id, const Status& why, WallTime now);
  // Left for good, or is not trusted any more: Offline() and Drain().
  void Lost(const std::string& node_id, const Status& why, WallTime now);
  // Targets of the node that are not settled yet: (job, attempt).
  std::vector<std::pair<JobId, uint32_t>> Wanted(const std::string& node_id) const;

  // False: it is of no order that runs, or says nothing new.
  bool Progress(const std::string& node_id, JobId id, uint32_t attempt, const TargetBytes& bytes,
                WallTime now);
  // How an order ended. What is not wanted any more is ignored; a report that does not answer each
  // item counts as a failure.
  void Report(const std::string& node_id, JobId id, uint32_t attempt,
              const std::vector<ItemOutcome>& items, WallTime now);

  // Of a job under way: more nodes, or those that have settled once more. Its time begins anew, up
  // to the next refresh.
  void Ask(JobId id, const std::vector<Target>& targets, WallTime now);
  // Every target that is not done fails with `why`; kCancelled: somebody cancelled it. kNotFound:
  // no such job under way.
  Status Abort(JobId id, const Status& why, WallTime now);
  // kNotFound: no such job under way.
  Status SetBio(JobId id, const std::string& bio, WallTime now);
  // Deadlines and retries that are due; how fast bytes come now.
  void Tick(WallTime now);

  std::vector<JobAction> Take();

 private:
  struct Active {
    Job job;
    std::unordered_map<std::string, size_t> by_node;
    std::unordered_map<std::string, uint32_t> by_copy;  // job.tasks by KeyOf()
    std::set<size_t> ready;                             // waiting, and its node is there
    std::map<size_t, WallTime> retry_at;
    size_t slots_taken = 0;  // running, and its node is there
    size_t open = 0;         // neither done nor failed
    RateMeter meter;
    // Of a pull job: since when no open target's node is there; {} = one is.
    WallTime unreachable_since{};
  };
  struct NodeState {
    bool online = false;
    size_t orders = 0;  // running
  };

  Active* Get(JobId id);
  bool IsOnline(const std::string& node_id) const;
  void Dispatch(Active& active);
  void DispatchAll();
  static std::pair<uint32_t, JobId> TurnOf(const Job& job);
  // Out of what it was, for good or until `retry_at`.
  void LeaveRunning(Active& active, size_t index);
  static bool IsTriedAgain(const Active& active, const Target& target,
                           const std::vector<ItemFailure>& why);
  void Fail(Active& active, size_t index, std::vector<ItemFailure> why, bool again, WallTime now);
  // Their texts within what is kept.
  std::vector<ItemFailure> Shared(std::vector<ItemFailure> why);
  // False: it has not settled.
  bool AskOne(Active& active, const Target& wanted);
  void FailAll(Active& active, const Status& why, WallTime now);
  static std::vector<ItemFailure> OnAllItems(const Job& job, const Status& why);
  void Complete(Active& active, size_t index, WallTime now);
  static std::string KeyOf(const JobTask& task);
  static void AddCopies(Active& active, Target& target, const std::vector<ItemOutcome>& items);
  // Of a job that stops early, where too many failed: its waiting targets are not tried.
  void StopEarly(Active& active, WallTime now);
  // Targets of a pull job whose time is up.
  void TickPull(Active& active, WallTime now);
  void FailTarget(Active& active, size_t index, const Status& why);
  // What came for a target since it was last said.
  static void Measure(Active& active, const TargetBytes& before, const TargetBytes& after,
                      WallTime now);
  void EndIfSettled(Active& active, WallTime now);
  void Emit(JobAction::Kind kind, const Active& active, size_t index);

  std::map<JobId, Active> active_;
  std::set<std::pair<uint32_t, JobId>> turns_;  // by falling priority, then age
  std::unordered_map<std::string, NodeState> nodes_;
  TextPool texts_{kMaxTextBytes};
  std::vector<JobAction> actions_;
};

// A copy of a job that ended, whose failed targets are to be tried again where they are among
// `nodes`. Nothing is done again that was done. A node that joined anew under its name is the same.
Job RetryOf(Job job, const std::vector<Target>& nodes, WallTime now);
// Of a standing preheat that ended: all of these are asked, as at its creation …
Job RefreshOf(Job job, std::vector<Target> targets, WallTime now);
// … or these beside those that it has.
Job RoundOf(Job job, const std::vector<Target>& targets, WallTime now);

}  // namespace hearth::manager
