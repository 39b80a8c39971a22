// OrderHub's standing preheats: who came later is asked too, and everybody again each `refresh`.
#include <algorithm>
#include <set>
#include <utility>

#include "base/log.h"
#include "manager/job_scope.h"
#include "manager/order_hub.h"

namespace hearth::manager {

namespace {

// A job for some nodes keeps to those that it has until its refresh.
void KeepKnown(const Job& job, std::vector<Target>& chosen) {
  std::set<std::string> known;
  for (const Target& target : job.targets) known.insert(target.node_id);
  std::erase_if(chosen, [&](const Target& target) { return !known.contains(target.node_id); });
}

// Of which it took some: all that match, of which those that it has are kept.
JobSpec Widened(JobSpec spec) {
  spec.scope = JobScope::kAllPeers;
  spec.count = 0;
  spec.percentage = 0;
  return spec;
}

bool RunsOn(const Job& job, const std::string& node_id) {
  const auto target = std::ranges::find(job.targets, node_id, &Target::node_id);
  return target != job.targets.end() && target->state == TargetState::kRunning;
}

}  // namespace

size_t OrderHub::CountStanding() const {
  size_t standing = 0;
  for (const auto& [id, ended] : ended_) standing += ended.standing ? 1 : 0;
  for (const JobId id : jobs_.Ids()) standing += IsStanding(*jobs_.Find(id)) ? 1 : 0;
  return standing;
}

void OrderHub::TendStanding(WallTime now) {
  if (now < tended_ + kStandingPause) return;
  std::set<JobId> standing;
  for (const auto& [id, ended] : ended_) {
    if (ended.standing) standing.insert(id);
  }
  for (const JobId id : jobs_.Ids()) {
    if (IsStanding(*jobs_.Find(id))) standing.insert(id);
  }
  std::erase_if(without_nodes_, [&](JobId id) { return !standing.contains(id); });
  standing_.KeepOnly(standing);
  const std::vector<Node> nodes = standing.empty() ? std::vector<Node>() : options_.fleet.List();
  // From the one on that the last call came to: one that cannot be resumed stands in nobody's way.
  size_t resumed = 0;
  auto next = standing.upper_bound(tended_job_);
  for (size_t i = 0; i < standing.size() && resumed < kMaxResumedAtOnce; ++i) {
    if (next == standing.end()) next = standing.begin();
    tended_job_ = *next++;
    resumed += TendStandingJob(tended_job_, nodes, now) ? 1 : 0;
  }
  if (resumed < kMaxResumedAtOnce) tended_ = now;
}

bool OrderHub::TendStandingJob(JobId id, const std::vector<Node>& nodes, WallTime now) {
  const Job* active = jobs_.Find(id);
  // It has ended, which is not written yet: what came meanwhile is looked at then.
  if (active != nullptr && active->state != JobState::kPending) return false;
  const bool due = active == nullptr && now >= ended_.at(id).due;
  if (!due && !standing_.HasNews(id, now)) return false;
  const auto head = active != nullptr ? Result<Job>(Job()) : options_.store.Head(id);
  if (!head.ok()) {
    LOG_ERROR("a standing preheat cannot go on, tried again",
              {{"job", id}, {"error", head.status()}});
    return true;
  }
  const Job& job = active != nullptr ? *active : *head;
  // None of its nodes may be left; one that comes is looked at then.
  auto chosen = ChooseTargets(due ? job.spec : Widened(job.spec), nodes, Missing::kLeaveOut);
  if (chosen.ok()) {
    without_nodes_.erase(id);
  } else if (without_nodes_.insert(id).second) {
    LOG_WARNING("a standing preheat has no node now", {{"job", id}, {"error", chosen.status()}});
  }
  if (!chosen.ok()) chosen = std::vector<Target>();
  if (!due) {
    std::erase_if(*chosen, [&](const Target& target) NO_THREAD_SAFETY_ANALYSIS {
      return !standing_.IsNews(id, target.node_id, now);
    });
  }
  const bool nobody = chosen->empty();
  if (active != nullptr) {
    if (TakesSome(job.spec)) KeepKnown(job, *chosen);
    standing_.Asked(id, now, [&](const std::string& node_id) { return RunsOn(job, node_id); });
    if (!chosen->empty()) jobs_.Ask(id, *chosen, now);
    return false;
  }
  const Status resumed = nobody ? OkStatus() : ResumeFor(id, *std::move(chosen), due, now);
  if (resumed.ok()) {
    standing_.Asked(id, now, [](const std::string&) { return false; });
  } else {
    LOG_ERROR("a standing preheat cannot go on, tried again", {{"job", id}, {"error", resumed}});
  }
  return resumed.ok() && !nobody;
}

Status OrderHub::ResumeFor(JobId id, std::vector<Target> chosen, bool due, WallTime now) {
  Job job = TRY(options_.store.Load(id));
  if (due) return Resume(RefreshOf(std::move(job), std::move(chosen), now), Writes::kAll);
  if (TakesSome(job.spec)) KeepKnown(job, chosen);
  if (chosen.empty()) return OkStatus();
  return Resume(RoundOf(std::move(job), chosen, now), Writes::kRound);
}

void OrderHub::Dropped(const std::string& node_id, std::span<const Digest> blobs) {
  MutexLock lock(mutex_);
  standing_.Dropped(node_id, blobs);
}

void OrderHub::Returned(const std::string& node_id) {
  MutexLock lock(mutex_);
  standing_.Came(node_id);
}

Status OrderHub::Resume(Job job, Writes writes) {
  TRY_STATUS(CheckLoad(1, job.targets.size(), job.targets.size() * job.spec.items.size()));
  TRY_STATUS(writes == Writes::kAll ? options_.store.Replace(job) : options_.store.SaveRound(job));
  const JobId id = job.id;
  ended_.erase(id);
  TRY_STATUS(Begin(std::move(job)));
  feed_.Changed(id);
  return OkStatus();
}

}  // namespace hearth::manager
