#include "manager/jobs.h"

#include <algorithm>
#include <limits>

namespace hearth::manager {

namespace {

// Why a target is not done at the job's deadline.
Status LateReason(const Target& target, bool online) {
  if (!online) {
    return DeadlineExceeded("offline: the node had no connection to the manager at the deadline");
  }
  if (target.state == TargetState::kRunning) {
    return DeadlineExceeded("not done at the deadline (" + std::to_string(target.bytes.done) +
                            " of " + std::to_string(target.bytes.total) + " bytes were there)");
  }
  if (!target.why.empty()) {
    return DeadlineExceeded("not done at the deadline; before that: " +
                            target.why.front().message.str());
  }
  return DeadlineExceeded("no slot was free for the node before the deadline");
}

std::string Reason(const Job& job, size_t failed) {
  if (job.cancelled) return "cancelled";
  std::string text =
      std::to_string(failed) + " of " + std::to_string(job.targets.size()) + " nodes failed";
  for (const Target& target : job.targets) {
    if (target.state != TargetState::kFailed || target.why.empty()) continue;
    return text + "; " + target.name + ": " + target.why.front().message.str();
  }
  return text;
}

}  // namespace

Status Jobs::Add(Job job) {
  if (active_.contains(job.id)) return AlreadyExists("job " + std::to_string(job.id));
  if (active_.size() >= kMaxActive) {
    return ResourceExhausted("there are " + std::to_string(kMaxActive) +
                             " jobs under way (wait for some, or cancel them)");
  }
  Active& active = active_[job.id];
  active.job = std::move(job);
  for (size_t i = 0; i < active.job.tasks.size(); ++i) {
    active.by_copy[KeyOf(active.job.tasks[i])] = static_cast<uint32_t>(i);
  }
  for (size_t i = 0; i < active.job.targets.size(); ++i) {
    Target& target = active.job.targets[i];
    active.by_node[target.node_id] = i;
    target.why = Shared(std::move(target.why));
    if (target.state == TargetState::kDone || target.state == TargetState::kFailed) continue;
    target.state = TargetState::kWaiting;
    target.first_order = {};
    ++active.open;
    if (IsOnline(target.node_id)) active.ready.insert(i);
  }
  turns_.insert(TurnOf(active.job));
  const WallTime now = active.job.updated;
  StopEarly(active, now);
  Dispatch(active);
  EndIfSettled(active, now);
  return OkStatus();
}

const Job* Jobs::Find(JobId id) const {
  const auto found = active_.find(id);
  return found == active_.end() ? nullptr : &found->second.job;
}

Jobs::Active* Jobs::Get(JobId id) {
  const auto found = active_.find(id);
  return found == active_.end() ? nullptr : &found->second;
}

std::vector<JobId> Jobs::Ids() const {
  std::vector<JobId> ids;
  for (const auto& [id, active] : active_) ids.push_back(id);
  return ids;
}

void Jobs::Remove(JobId id) {
  Active* active = Get(id);
  if (active == nullptr) return;
  for (size_t i = 0; i < active->job.targets.size(); ++i) {
    if (active->job.targets[i].state == TargetState::kRunning) {
      Emit(JobAction::Kind::kCancel, *active, i);
      LeaveRunning(*active, i);
    }
  }
  turns_.erase(TurnOf(active->job));
  active_.erase(id);
  DispatchAll();
}

bool Jobs::IsOnline(const std::string& node_id) const {
  const auto found = nodes_.find(node_id);
  return found != nodes_.end() && found->second.online;
}

void Jobs::Online(const std::string& node_id) {
  NodeState& node = nodes_[node_id];
  if (std::exchange(node.online, true)) return;
  for (auto& [id, active] : active_) {
    const auto place = active.by_node.find(node_id);
    if (place == active.by_node.end()) continue;
    const Target& target = active.job.targets[place->second];
    if (target.state == TargetState::kRunning) {
      ++active.slots_taken;
      Emit(JobAction::Kind::kSend, active, place->second);
    } else if (target.state == TargetState::kWaiting && !active.retry_at.contains(place->second)) {
      active.ready.insert(place->second);
    }
  }
  DispatchAll();
}

void Jobs::Offline(const std::string& node_id) {
  const auto node = nodes_.find(node_id);
  if (node == nodes_.end() || !std::exchange(node->second.online, false)) return;
  for (auto& [id, active] : active_) {
    const auto place = active.by_node.find(node_id);
    if (place == active.by_node.end()) continue;
    active.ready.erase(place->second);
    if (active.job.targets[place->second].state == TargetState::kRunning) --active.slots_taken;
  }
  if (node->second.orders == 0) nodes_.erase(node);
  DispatchAll();
}

std::vector<std::pair<JobId, uint32_t>> Jobs::Wanted(const std::string& node_id) const {
  std::vector<std::pair<JobId, uint32_t>> wanted;
  for (const auto& [id, active] : active_) {
    const auto place = active.by_node.find(node_id);
    if (place == active.by_node.end()) continue;
    const Target& target = active.job.targets[place->second];
    const bool open =
        target.state == TargetState::kWaiting || target.state == TargetState::kRunning;
    if (open) wanted.emplace_back(id, target.attempt);
  }
  return wanted;
}

std::pair<uint32_t, JobId> Jobs::TurnOf(const Job& job) {
  return {std::numeric_limits<uint32_t>::max() - job.spec.priority, job.id};
}

void Jobs::DispatchAll() {
  for (const auto& [rank, id] : turns_) Dispatch(active_.at(id));
}

void Jobs::Dispatch(Active& active) {
  for (auto place = active.ready.begin();
       place != active.ready.end() && active.slots_taken < active.job.spec.concurrency;) {
    const size_t index = *place;
    Target& target = active.job.targets[index];
    NodeState& node = nodes_[target.node_id];
    if (node.orders >= kMaxOrdersPerNode) {
      ++place;
      continue;
    }
    place = active.ready.erase(place);
    target.state = TargetState::kRunning;
    target.bytes = {};
    ++node.orders;
    ++active.slots_taken;
    Emit(JobAction::Kind::kSend, active, index);
  }
}

void Jobs::LeaveRunning(Active& active, size_t index) {
  Target& target = active.job.targets[index];
  if (target.state != TargetState::kRunning) return;
  target.state = TargetState::kWaiting;
  const auto node = nodes_.find(target.node_id);
  if (node == nodes_.end()) return;
  if (node->second.online) --active.slots_taken;
  if (node->second.orders > 0) --node->second.orders;
  if (!node->second.online && node->second.orders == 0) nodes_.erase(node);
}

bool Jobs::Progress(const std::string& node_id, JobId id, uint32_t attempt,
                    const TargetBytes& bytes, WallTime now) {
  Active* active = Get(id);
  if (active == nullptr) return false;
  const auto place = active->by_node.find(node_id);
  if (place == active->by_node.end()) return false;
  Target& target = active->job.targets[place->second];
  const bool running = target.state == TargetState::kRunning && target.attempt == attempt;
  if (!running || target.bytes == bytes) return false;
  Measure(*active, target.bytes, bytes, now);
  target.bytes = bytes;
  return true;
}

void Jobs::Measure(Active& active, const TargetBytes& before, const TargetBytes& after,
                   WallTime now) {
  const uint64_t received = ReceivedOf(after);
  active.meter.Add(received - std::min(received, ReceivedOf(before)), now);
  active.job.bytes_per_second = active.meter.Rate(now);
}

std::vector<ItemFailure> Jobs::OnAllItems(const Job& job, const Status& why) {
  std::vector<ItemFailure> failures;
  const SharedText text = why.message();
  for (size_t i = 0; i < job.spec.items.size(); ++i) {
    failures.push_back({static_cast<uint32_t>(i), why.code(), text});
  }
  return failures;
}

void Jobs::FailTarget(Active& active, size_t index, const Status& why) {
  Target& target = active.job.targets[index];
  if (target.state == TargetState::kRunning) {
    Emit(JobAction::Kind::kCancel, active, index);
    LeaveRunning(active, index);
  }
  active.ready.erase(index);
  active.retry_at.erase(index);
  target.why = Shared(OnAllItems(active.job, why));
  target.state = TargetState::kFailed;
  --active.open;
  Emit(JobAction::Kind::kSaveTarget, active, index);
}

void Jobs::StopEarly(Active& active, WallTime now) {
  if (!active.job.spec.stop_early) return;
  const JobCounts counts = CountsOf(active.job);
  const auto failed = static_cast<uint32_t>(counts.failed);
  const auto total = static_cast<uint32_t>(counts.total());
  const FailureTolerance tolerance = active.job.spec.failure_tolerate;
  if (!tolerance.Exceeded(failed, total)) return;
  const Status why =
      Aborted("not tried: " + std::to_string(failed) + " of " + std::to_string(total) +
              " nodes failed, failureTolerate is " + tolerance.ToString());
  for (size_t i = 0; i < active.job.targets.size(); ++i) {
    if (active.job.targets[i].state == TargetState::kWaiting) FailTarget(active, i, why);
  }
  active.job.updated = now;
}

void Jobs::FailAll(Active& active, const Status& why, WallTime now) {
  for (size_t i = 0; i < active.job.targets.size(); ++i) {
    Target& target = active.job.targets[i];
    if (target.state == TargetState::kDone || target.state == TargetState::kFailed) continue;
    const Status reason = why.code() == StatusCode::kDeadlineExceeded
                              ? LateReason(target, IsOnline(target.node_id))
                              : why;
    FailTarget(active, i, reason);
  }
  active.job.updated = now;
  EndIfSettled(active, now);
  DispatchAll();
}

void Jobs::Lost(const std::string& node_id, const Status& why, WallTime now) {
  Offline(node_id);
  Drain(node_id, why, now);
}

void Jobs::Drain(const std::string& node_id, const Status& why, WallTime now) {
  for (auto& [id, active] : active_) {
    const auto place = active.by_node.find(node_id);
    if (place == active.by_node.end()) continue;
    const size_t index = place->second;
    Target& target = active.job.targets[index];
    if (target.state == TargetState::kDone || target.state == TargetState::kFailed) continue;
    FailTarget(active, index, why);
    StopEarly(active, now);
    EndIfSettled(active, now);
  }
  DispatchAll();
}

Status Jobs::Abort(JobId id, const Status& why, WallTime now) {
  Active* active = Get(id);
  if (active == nullptr || active->job.state != JobState::kPending) {
    return NotFound("no job " + std::to_string(id) + " is under way");
  }
  active->job.cancelled = why.code() == StatusCode::kCancelled;
  // For good: a retry is of what failed, and does not make it stand again.
  if (active->job.cancelled) active->job.spec.keep = false;
  FailAll(*active, why, now);
  return OkStatus();
}

Status Jobs::SetBio(JobId id, const std::string& bio, WallTime now) {
  Active* active = Get(id);
  if (active == nullptr) return NotFound("no job " + std::to_string(id) + " is under way");
  active->job.bio = bio;
  active->job.updated = now;
  Emit(JobAction::Kind::kSaveJob, *active, 0);
  return OkStatus();
}

void Jobs::EndIfSettled(Active& active, WallTime now) {
  if (active.open > 0 || active.job.state != JobState::kPending) return;
  const JobCounts counts = CountsOf(active.job);
  const bool success =
      !active.job.cancelled && counts.done > 0 &&
      !active.job.spec.failure_tolerate.Exceeded(static_cast<uint32_t>(counts.failed),
                                                 static_cast<uint32_t>(counts.total()));
  active.job.state = success ? JobState::kSuccess : JobState::kFailure;
  active.job.bytes_per_second = 0;
  active.job.reason = counts.failed > 0 || !success ? Reason(active.job, counts.failed) : "";
  active.job.updated = now;
  Emit(JobAction::Kind::kSaveJob, active, 0);
}

void Jobs::Tick(WallTime now) {
  texts_.Sweep();
  for (auto& known : active_) {
    Active& active = known.second;
    if (active.job.state != JobState::kPending) continue;
    const uint64_t rate = active.meter.Rate(now);
    if (std::exchange(active.job.bytes_per_second, rate) != rate) {
      Emit(JobAction::Kind::kShow, active, 0);
    }
    if (active.job.deadline != WallTime{} && now >= active.job.deadline) {
      FailAll(active, DeadlineExceeded(""), now);
      continue;
    }
    if (active.job.spec.node_timeout.count() > 0) TickPull(active, now);
    bool due = false;
    std::erase_if(active.retry_at, [&](const auto& entry) {
      if (now < entry.second) return false;
      if (IsOnline(active.job.targets[entry.first].node_id)) active.ready.insert(entry.first);
      return due = true;
    });
    if (due) Dispatch(active);
  }
}

void Jobs::TickPull(Active& active, WallTime now) {
  const auto limit = active.job.spec.node_timeout;
  const std::string seconds =
      std::to_string(std::chrono::duration_cast<std::chrono::seconds>(limit).count());
  bool reachable = false;
  size_t late = 0;
  for (size_t i = 0; i < active.job.targets.size(); ++i) {
    Target& target = active.job.targets[i];
    const bool running = target.state == TargetState::kRunning;
    if (!running && target.state != TargetState::kWaiting) continue;
    if (running && target.first_order == WallTime{}) target.first_order = now;
    if (target.first_order != WallTime{} && now - target.first_order >= limit) {
      FailTarget(active, i, DeadlineExceeded("not done within timeoutSeconds (" + seconds + ")"));
      ++late;
    } else {
      reachable = reachable || target.first_order != WallTime{} || IsOnline(target.node_id);
    }
  }
  if (reachable || late > 0 || active.open == 0) {
    active.unreachable_since = {};
  } else if (active.unreachable_since == WallTime{}) {
    active.unreachable_since = now;
  } else if (now - active.unreachable_since >= limit) {
    FailAll(active,
            Unavailable("offline: no connection to the manager for " + seconds + " seconds"), now);
    return;
  }
  if (late == 0) return;
  active.job.updated = now;
  StopEarly(active, now);
  EndIfSettled(active, now);
  Dispatch(active);
}

void Jobs::Emit(JobAction::Kind kind, const Active& active, size_t index) {
  JobAction action{.kind = kind, .job = active.job.id, .target = index};
  if (kind == JobAction::Kind::kCancel) {
    action.attempt = active.job.targets[index].attempt;
    action.uid = active.job.task_id;
    action.node_id = active.job.targets[index].node_id;
  }
  actions_.push_back(std::move(action));
}

std::vector<JobAction> Jobs::Take() { return std::exchange(actions_, {}); }

}  // namespace hearth::manager
