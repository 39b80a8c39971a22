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

}  // namespace

size_t OrderHub::CountStanding() const {
  size_t standing = 0;
  for (const auto& [id, ended] : ended_) standing += ended.standing ? 1 : 0;
  for (const JobId id : jobs_.Ids()) standing += IsStanding(*jobs_.Find(id)) ? 1 : 0;
  return standing;
}

void OrderHub::TendStanding(WallTime now) {
  if (now < tended_ + kStandingPause) return;
  tended_ = now;
  std::vector<JobId> standing;
  for (const auto& [id, ended] : ended_) {
    if (ended.standing) standing.push_back(id);
  }
  for (const JobId id : jobs_.Ids()) {
    if (IsStanding(*jobs_.Find(id))) standing.push_back(id);
  }
  std::erase_if(tended_to_, [&](const auto& entry) {
    return std::ranges::find(standing, entry.first) == standing.end();
  });
  if (standing.empty()) return;
  const std::vector<Node> nodes = options_.fleet.List();
  for (const JobId id : standing) TendStandingJob(id, nodes, now);
}

void OrderHub::TendStandingJob(JobId id, const std::vector<Node>& nodes, WallTime now) {
  const Job* active = jobs_.Find(id);
  const bool due = active == nullptr && now >= ended_.at(id).due;
  uint64_t& tended_to = tended_to_[id];
  if (!due && tended_to == arrivals_) return;
  auto loaded = active != nullptr ? Result<Job>(*active) : options_.store.Load(id);
  if (!loaded.ok()) {
    LOG_ERROR("a standing preheat cannot go on, tried again",
              {{"job", id}, {"error", loaded.status()}});
    return;
  }
  const Job& job = *loaded;
  // None of its nodes may be left; one that comes is looked at then.
  auto chosen = ChooseTargets(job.spec, nodes, Missing::kLeaveOut);
  if (!chosen.ok()) {
    LOG_WARNING("a standing preheat has no node now", {{"job", id}, {"error", chosen.status()}});
    tended_to = arrivals_;
    return;
  }
  if (!due) KeepArrived(tended_to, *chosen);
  if (active != nullptr) {
    if (TakesSome(job.spec)) KeepKnown(job, *chosen);
    if (!chosen->empty()) jobs_.Ask(id, *chosen, now);
    tended_to = arrivals_;
    return;
  }
  if (chosen->empty()) {
    tended_to = arrivals_;
    return;
  }
  Status resumed;
  if (!due && TakesSome(job.spec)) KeepKnown(job, *chosen);
  if (!chosen->empty()) {
    resumed = Resume(due ? RefreshOf(*std::move(loaded), *std::move(chosen), now)
                         : RoundOf(*std::move(loaded), *chosen, now));
  }
  if (resumed.ok()) {
    tended_to = arrivals_;
  } else {
    LOG_ERROR("a standing preheat cannot go on, tried again", {{"job", id}, {"error", resumed}});
  }
}

// They may be new, or have lost their store while they were away.
void OrderHub::KeepArrived(uint64_t since, std::vector<Target>& chosen) const {
  std::erase_if(chosen, [&](const Target& target) NO_THREAD_SAFETY_ANALYSIS {
    const auto arrival = arrival_.find(target.node_id);
    return arrival == arrival_.end() || arrival->second <= since;
  });
}

void OrderHub::Returned(const std::string& node_id) {
  MutexLock lock(mutex_);
  arrival_[node_id] = ++arrivals_;
}

Status OrderHub::Resume(Job job) {
  TRY_STATUS(CheckLoad(1, CountsOf(job).waiting));
  TRY_STATUS(options_.store.Replace(job));
  const JobId id = job.id;
  ended_.erase(id);
  TRY_STATUS(Begin(std::move(job)));
  feed_.Changed(id);
  return OkStatus();
}

}  // namespace hearth::manager
