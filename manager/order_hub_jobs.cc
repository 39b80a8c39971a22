// OrderHub's side of the API: jobs made, read, changed and removed.
#include <algorithm>
#include <array>
#include <utility>

#include "base/log.h"
#include "manager/job_scope.h"
#include "manager/job_secrets.h"
#include "manager/order_hub.h"

namespace hearth::manager {

namespace {

constexpr size_t kMaxListedNames = 64;  // as many as an answer shows
constexpr size_t kLoadsWithoutLock = 3;

Status NoJob(JobId id) { return NotFound("there is no job " + std::to_string(id)); }

// As others may see it: PENDING until its end is written down.
void ReadActive(const Job& job, const std::function<void(const Job&)>& read) {
  if (job.state == JobState::kPending) return read(job);
  Job shown = job;
  shown.state = JobState::kPending;
  read(shown);
}

Job WithoutParts(const Job& job) {
  Job head;
  head.id = job.id;
  head.task_id = job.task_id;
  head.name = job.name;
  head.bio = job.bio;
  head.state = job.state;
  head.cancelled = job.cancelled;
  head.reason = job.reason;
  head.created = job.created;
  head.updated = job.updated;
  head.refreshed = job.refreshed;
  head.deadline = job.deadline;
  head.spec = job.spec;
  head.sealed = job.sealed;
  head.idempotency_key = job.idempotency_key;
  head.request_sum = job.request_sum;
  return head;
}

}  // namespace

Result<Job> OrderHub::HeadOf(JobId id) const {
  const Job* active = jobs_.Find(id);
  Job head = active != nullptr ? WithoutParts(*active) : TRY(options_.store.Head(id));
  if (active != nullptr) head.state = JobState::kPending;
  for (std::vector<std::string>* names : {&head.spec.nodes, &head.spec.ips}) {
    if (names->size() > kMaxListedNames) names->resize(kMaxListedNames);
    names->shrink_to_fit();
  }
  head.sealed = std::string();
  return head;
}

Status OrderHub::CheckLoad(size_t jobs, size_t targets, size_t outcomes) const {
  if (jobs_.Ids().size() + jobs > Jobs::kMaxActive) {
    return ResourceExhausted("too many jobs are under way (wait for some, or cancel them)");
  }
  for (const JobId id : jobs_.Ids()) {
    const Job& job = *jobs_.Find(id);
    targets += job.targets.size();
    outcomes += job.targets.size() * job.spec.items.size();
  }
  if (targets > kMaxTargets || outcomes > kMaxOutcomes) {
    return ResourceExhausted("the jobs under way are for too many nodes together (wait for some)");
  }
  return OkStatus();
}

void OrderHub::MakeRoom(size_t jobs) {
  while (ended_.size() + jobs_.Ids().size() + jobs > options_.max_jobs && !ended_.empty()) {
    // Not the lowest number: it may have been retried just now. What stands goes when nothing else
    // is left.
    const auto oldest = std::ranges::min_element(ended_, {}, [](const auto& job) {
      return std::pair(job.second.standing, job.second.updated);
    });
    const auto head = options_.store.Head(oldest->first);
    if (!head.ok() || !options_.store.Remove(oldest->first).ok()) return;
    Forget(*head);
    feed_.Removed(oldest->first);
    ended_.erase(oldest);
  }
}

Result<std::optional<JobId>> OrderHub::FindByKey(const Origin& origin) const {
  MutexLock lock(mutex_);
  return JobOfKey(origin);
}

Result<std::optional<JobId>> OrderHub::JobOfKey(const Origin& origin) const {
  const auto known = by_key_.find(origin.idempotency_key);
  if (origin.idempotency_key.empty() || known == by_key_.end()) return std::optional<JobId>();
  const Job before = TRY(HeadOf(known->second));
  if (before.request_sum == origin.request_sum) return std::optional<JobId>(before.id);
  return AlreadyExists("Idempotency-Key: it was used for another request (job " +
                       std::to_string(before.id) + ")");
}

Result<JobId> OrderHub::Create(const JobRequest& request, const Origin& origin) {
  Job job;
  job.spec = request.spec;
  job.bio = request.bio;
  job.idempotency_key = origin.idempotency_key;
  job.request_sum = origin.request_sum;
  MutexLock lock(mutex_);
  if (const auto known = TRY(JobOfKey(origin))) return *known;
  std::vector<NewJob> one;
  one.push_back({.job = std::move(job),
                 .secrets = request.secrets,
                 .choose = [&request](const std::vector<Node>& nodes) {
                   return ChooseTargets(request.spec, nodes);
                 }});
  return TRY(Add(std::move(one))).front();
}

Result<std::vector<JobId>> OrderHub::CreateNamed(std::vector<NewJob> jobs) {
  MutexLock lock(mutex_);
  for (const NewJob& job : jobs) {
    if (by_name_.contains(job.job.name)) {
      return AlreadyExists("there is a job " + job.job.name + " (delete it first)");
    }
  }
  return Add(std::move(jobs));
}

Result<std::vector<JobId>> OrderHub::Add(std::vector<NewJob> jobs) {
  const std::vector<Node> nodes = options_.fleet.List();
  size_t targets = 0;
  size_t outcomes = 0;
  for (NewJob& job : jobs) {
    job.job.targets = TRY(job.choose(nodes));
    targets += job.job.targets.size();
    outcomes += job.job.targets.size() * job.job.spec.items.size();
  }
  TRY_STATUS(CheckLoad(jobs.size(), targets, outcomes));
  const bool stands =
      std::ranges::any_of(jobs, [](const NewJob& job) { return job.job.spec.keep; });
  if (stands && CountStanding() >= kMaxStanding) {
    return ResourceExhausted("there are " + std::to_string(kMaxStanding) +
                             " standing preheats (cancel some)");
  }
  MakeRoom(jobs.size());
  std::vector<Job> made;
  for (NewJob& one : jobs) {
    Job& job = made.emplace_back(std::move(one.job));
    job.id = TRY(options_.store.NextId());
    job.task_id = NewGroupId();
    job.created = job.updated = job.refreshed = options_.clock.WallNow();
    if (job.spec.timeout.count() > 0) job.deadline = job.created + job.spec.timeout;
    job.sealed = SealSecrets(options_.sealer, job.id, one.secrets);
  }
  TRY_STATUS(options_.store.Create(made));
  std::vector<JobId> ids;
  for (Job& job : made) {
    const JobId id = job.id;
    ids.push_back(id);
    if (!job.idempotency_key.empty()) by_key_[job.idempotency_key] = job.id;
    if (!job.name.empty()) by_name_[job.name] = job.id;
    if (job.spec.keep) standing_.Asked(id, job.created, [](const std::string&) { return false; });
    LOG_INFO("job created", {{"job", job.id},
                             {"name", job.name},
                             {"type", JobKindName(job.spec.kind)},
                             {"items", job.spec.items.size()},
                             {"nodes", job.targets.size()}});
    TRY_STATUS(Begin(std::move(job)));
    feed_.Changed(id);
  }
  (void)Apply();
  return ids;
}

Result<JobId> OrderHub::FindByName(const std::string& name) const {
  MutexLock lock(mutex_);
  const auto found = by_name_.find(name);
  if (found == by_name_.end()) return NotFound("there is no pull job " + name.substr(0, 64));
  return found->second;
}

Result<OrderHub::NamedPage> OrderHub::ListNamed(size_t page, size_t per_page) const {
  NamedPage out;
  MutexLock lock(mutex_);
  std::vector<JobId> ids;
  for (const auto& [name, id] : by_name_) ids.push_back(id);
  std::ranges::sort(ids, std::greater());
  out.total = ids.size();
  for (size_t i = (page - 1) * per_page; i < ids.size() && out.heads.size() < per_page; ++i) {
    const Job* active = jobs_.Find(ids[i]);
    const JobCounts counts = active != nullptr ? CountsOf(*active) : JobCounts{};
    out.heads.emplace_back(TRY(HeadOf(ids[i])), counts);
  }
  return out;
}

void OrderHub::Forget(const Job& head) {
  if (!head.idempotency_key.empty()) by_key_.erase(head.idempotency_key);
  if (!head.name.empty()) by_name_.erase(head.name);
}

// A job that ended is loaded without the lock; one that somebody changed meanwhile is loaded again.
Status OrderHub::Read(JobId id, const std::function<void(const Job&)>& read) const {
  std::optional<JobFeed::Revision> loaded_at;
  Result<Job> loaded = NoJob(id);
  for (size_t loads = 0;; ++loads) {
    {
      MutexLock lock(mutex_);
      if (const Job* job = jobs_.Find(id); job != nullptr) {
        ReadActive(*job, read);
        return OkStatus();
      }
      if (!ended_.contains(id)) return NoJob(id);
      const JobFeed::Revision now = feed_.Of(id);
      if (loaded_at == now) break;
      loaded_at = now;
      if (loads == kLoadsWithoutLock) {
        loaded = options_.store.Load(id);
        break;
      }
    }
    loaded = options_.store.Load(id);
  }
  TRY_STATUS(loaded.status());
  read(*loaded);
  return OkStatus();
}

Result<JobState> OrderHub::StateOf(JobId id) const {
  MutexLock lock(mutex_);
  if (jobs_.Find(id) != nullptr) return JobState::kPending;
  const auto ended = ended_.find(id);
  if (ended == ended_.end()) return NoJob(id);
  return ended->second.state;
}

Result<OrderHub::Page> OrderHub::List(std::optional<JobState> state, size_t page,
                                      size_t per_page) const {
  Page out;
  const size_t first = (page - 1) * per_page;
  MutexLock lock(mutex_);
  std::vector<JobId> ids = jobs_.Ids();
  for (const auto& [id, ended] : ended_) ids.push_back(id);
  std::ranges::sort(ids, std::greater());
  for (const JobId id : ids) {
    const bool active = jobs_.Find(id) != nullptr;
    if (state && (active ? JobState::kPending : ended_.at(id).state) != *state) continue;
    const size_t place = out.total++;
    if (place < first || place >= first + per_page) continue;
    out.heads.push_back(TRY(HeadOf(id)));
  }
  return out;
}

Status OrderHub::SetBio(JobId id, const std::string& bio) {
  MutexLock lock(mutex_);
  if (const Job* active = jobs_.Find(id); active != nullptr) {
    // Written first, so that what is refused has changed nothing.
    Job head = WithoutParts(*active);
    head.state = JobState::kPending;  // an end is written behind the targets' records
    head.bio = bio;
    head.updated = options_.clock.WallNow();
    TRY_STATUS(options_.store.SaveHead(head));
    TRY_STATUS(jobs_.SetBio(id, bio, head.updated));
    (void)Apply();
    return OkStatus();
  }
  const auto ended = ended_.find(id);
  if (ended == ended_.end()) return NoJob(id);
  Job changed = TRY(options_.store.Load(id));
  changed.bio = bio;
  changed.updated = options_.clock.WallNow();
  TRY_STATUS(options_.store.SaveHead(changed));
  ended->second = EndedJob::Of(changed);
  feed_.Changed(id);
  return OkStatus();
}

Status OrderHub::Cancel(JobId id) {
  MutexLock lock(mutex_);
  if (const auto ended = ended_.find(id); ended != ended_.end()) {
    if (!ended->second.standing) {
      return FailedPrecondition("job " + std::to_string(id) + " has ended already");
    }
    Job job = TRY(options_.store.Load(id));
    job.spec.keep = false;
    job.updated = options_.clock.WallNow();
    TRY_STATUS(options_.store.SaveHead(job));
    ended->second = EndedJob::Of(job);
    feed_.Changed(id);
    return OkStatus();
  }
  if (jobs_.Find(id) == nullptr) return NoJob(id);
  TRY_STATUS(jobs_.Abort(id, Cancelled("the job was cancelled"), options_.clock.WallNow()));
  return Apply() ? OkStatus() : ResourceExhausted("it is not written down yet (is the disk full?)");
}

Status OrderHub::Retry(JobId id) {
  MutexLock lock(mutex_);
  if (jobs_.Find(id) != nullptr) {
    return FailedPrecondition("job " + std::to_string(id) + " is under way (cancel it first)");
  }
  if (!ended_.contains(id)) return NoJob(id);
  std::vector<Target> nodes;
  for (const Node& node : options_.fleet.List()) {
    if (!node.cordoned && !node.banned) nodes.push_back(TargetFor(node));
  }
  Job job = RetryOf(TRY(options_.store.Load(id)), nodes, options_.clock.WallNow());
  if (CountsOf(job).waiting == 0) {
    return FailedPrecondition("nothing of job " + std::to_string(id) +
                              " failed on a node that is here and neither cordoned nor banned");
  }
  TRY_STATUS(Resume(std::move(job), Writes::kRound));
  (void)Apply();
  return OkStatus();
}

Status OrderHub::Remove(JobId id) {
  MutexLock lock(mutex_);
  const Job* active = jobs_.Find(id);
  if (active == nullptr && !ended_.contains(id)) return NoJob(id);
  const Job head = TRY(HeadOf(id));
  TRY_STATUS(options_.store.Remove(id));
  Forget(head);
  ended_.erase(id);
  jobs_.Remove(id);
  secrets_.erase(id);
  tasks_saved_.erase(id);
  unsaved_.erase(id);
  unsaved_heads_.erase(id);
  feed_.Removed(id);
  (void)Apply();
  return OkStatus();
}

std::vector<Reading> OrderHub::Readings() const {
  MutexLock lock(mutex_);
  std::array<size_t, 3> by_state{};
  for (const auto& [id, ended] : ended_) ++by_state[static_cast<size_t>(ended.state)];
  by_state[static_cast<size_t>(JobState::kPending)] += jobs_.Ids().size();
  std::vector<Reading> out;
  for (const JobState state : {JobState::kPending, JobState::kSuccess, JobState::kFailure}) {
    out.push_back({"hearth_manager_jobs",
                   "Jobs that are kept, by state.",
                   {{"state", std::string(JobStateName(state))}},
                   static_cast<double>(by_state[static_cast<size_t>(state)]),
                   false});
  }
  out.push_back({"hearth_manager_order_streams",
                 "Nodes that take orders now.",
                 {},
                 static_cast<double>(sessions_.size()),
                 false});
  out.push_back({"hearth_manager_event_readers",
                 "Clients that wait for jobs to change: event streams and long polls.",
                 {},
                 static_cast<double>(feed_.readers()),
                 false});
  return out;
}

}  // namespace hearth::manager
