// Jobs whose nodes are asked again: a retry, and the rounds of a standing preheat.
#include <algorithm>
#include <map>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <utility>

#include "manager/jobs.h"

namespace hearth::manager {

namespace {

void Restart(Job& job, WallTime now) {
  job.state = JobState::kPending;
  job.cancelled = false;
  job.reason.clear();
  job.updated = now;
  job.deadline = job.spec.timeout.count() > 0 ? now + job.spec.timeout : WallTime{};
}

void AskAgain(Target& target) {
  target.state = TargetState::kWaiting;
  ++target.attempt;
  target.failures = 0;
  target.why.clear();
  target.bytes = {};
}

bool IsSettled(const Target& target) {
  return target.state == TargetState::kDone || target.state == TargetState::kFailed;
}

}  // namespace

Job RetryOf(Job job, const std::vector<Target>& nodes, WallTime now) {
  Restart(job, now);
  std::unordered_map<std::string, const Target*> by_id;
  std::unordered_multimap<std::string, const Target*> by_name;
  for (const Target& node : nodes) by_id.emplace(node.node_id, &node);
  for (const Target& node : nodes) by_name.emplace(node.name, &node);
  std::unordered_set<std::string> taken;
  for (const Target& target : job.targets) taken.insert(target.node_id);
  const auto node_of = [&](const Target& target) -> const Target* {
    if (const auto same = by_id.find(target.node_id); same != by_id.end()) return same->second;
    const auto [begin, end] = by_name.equal_range(target.name);
    const auto found = std::find_if(begin, end, [&](const auto& one) {
      // The cluster of a name that nobody had is not known.
      return (target.cluster.empty() || one.second->cluster == target.cluster) &&
             !taken.contains(one.second->node_id);
    });
    return found == end ? nullptr : found->second;
  };
  for (Target& target : job.targets) {
    const Target* node = target.state == TargetState::kDone ? nullptr : node_of(target);
    if (node == nullptr) continue;
    taken.insert(node->node_id);
    target.node_id = node->node_id;
    target.host = node->host;
    target.cluster = node->cluster;
    AskAgain(target);
  }
  return job;
}

Job RefreshOf(Job job, std::vector<Target> targets, WallTime now) {
  Restart(job, now);
  job.refreshed = now;
  std::map<std::string, uint32_t> attempts;
  for (const Target& target : job.targets) attempts[target.node_id] = target.attempt;
  for (Target& target : targets) {
    // A report on the round before must not count for this one.
    if (const auto before = attempts.find(target.node_id); before != attempts.end()) {
      target.attempt = before->second + 1;
    }
  }
  job.targets = std::move(targets);
  // A tag may mean something else by now.
  job.tasks.clear();
  return job;
}

Job RoundOf(Job job, const std::vector<Target>& targets, WallTime now) {
  Restart(job, now);
  for (const Target& wanted : targets) {
    const auto known = std::ranges::find(job.targets, wanted.node_id, &Target::node_id);
    if (known == job.targets.end()) {
      job.targets.push_back(wanted);
    } else {
      AskAgain(*known);
    }
  }
  return job;
}

void Jobs::Ask(JobId id, const std::vector<Target>& targets, WallTime now) {
  Active* active = Get(id);
  if (active == nullptr || active->job.state != JobState::kPending) return;
  Job& job = active->job;
  bool asked = false;
  for (const Target& target : targets) asked = AskOne(*active, target) || asked;
  if (!asked) return;
  job.updated = now;
  if (job.spec.timeout.count() > 0) {
    // Nodes that come and go must not put its end, and the next refresh, off for ever.
    const WallTime latest =
        job.refreshed + std::max<WallTime::duration>(job.spec.refresh, job.spec.timeout);
    job.deadline = std::max(job.deadline, std::min(now + job.spec.timeout, latest));
  }
  Emit(JobAction::Kind::kSaveJob, *active, 0);
  Dispatch(*active);
}

bool Jobs::AskOne(Active& active, const Target& wanted) {
  auto [place, is_new] = active.by_node.emplace(wanted.node_id, active.job.targets.size());
  if (is_new) {
    active.job.targets.push_back(wanted);
  } else {
    Target& known = active.job.targets[place->second];
    if (!IsSettled(known)) return false;
    AskAgain(known);
  }
  const size_t index = place->second;
  ++active.open;
  if (IsOnline(wanted.node_id)) active.ready.insert(index);
  Emit(JobAction::Kind::kSaveTarget, active, index);
  return true;
}

}  // namespace hearth::manager
