// What nodes report of their orders: Jobs::Report() of jobs.h, and what is kept of it.
#include <algorithm>
#include <set>
#include <utility>

#include "manager/jobs.h"

namespace hearth::manager {

namespace {

// Of one node: what is kept of its failures' texts, equal neighbours counted once …
constexpr size_t kMaxTextsPerNode = 16 << 10;
// … and of the first of them where there is no room for it.
constexpr size_t kMaxFirstText = 256;

// Asking again brings nothing else.
bool IsFinal(StatusCode code) {
  return code == StatusCode::kInvalidArgument || code == StatusCode::kUnimplemented;
}

std::chrono::milliseconds RetryPause(uint32_t failures) {
  std::chrono::milliseconds pause = Jobs::kFirstRetry;
  for (uint32_t i = 1; i < failures && pause < Jobs::kLastRetry; ++i) pause *= 2;
  return std::min(pause, Jobs::kLastRetry);
}

// Of a report that answers each item.
std::vector<ItemFailure> FailuresOf(const Job& job, const std::vector<ItemOutcome>& items) {
  std::vector<ItemFailure> why;
  for (size_t i = 0; i < items.size(); ++i) {
    Status status = items[i].status;
    const bool copied = job.spec.dry_run || !items[i].copies.empty();
    if (status.ok() && !copied) status = Internal("the node names no copy");
    if (!status.ok()) why.push_back({static_cast<uint32_t>(i), status.code(), status.message()});
  }
  return why;
}

}  // namespace

// What one node says of a URL is not what another one has.
std::string Jobs::KeyOf(const JobTask& task) {
  return task.url + "\n" + (task.digest ? task.digest->ToString() : "") + "\n" +
         std::to_string(task.size_bytes);
}

void Jobs::Report(const std::string& node_id, JobId id, uint32_t attempt,
                  const std::vector<ItemOutcome>& items, WallTime now) {
  Active* active = Get(id);
  if (active == nullptr) return;
  const auto place = active->by_node.find(node_id);
  if (place == active->by_node.end()) return;
  const size_t index = place->second;
  Target& target = active->job.targets[index];
  const bool open = target.state == TargetState::kWaiting || target.state == TargetState::kRunning;
  if (!open || target.attempt != attempt) return;

  LeaveRunning(*active, index);
  active->ready.erase(index);
  active->retry_at.erase(index);
  const TargetBytes before = std::exchange(target.bytes, {});
  const bool answered = items.size() == active->job.spec.items.size();
  std::vector<ItemFailure> why;
  if (answered) {
    why = FailuresOf(active->job, items);
    for (const ItemOutcome& item : items) {
      ::hearth::manager::Add(item.bytes, target.bytes);
      target.depth = item.depth;
    }
    Measure(*active, before, target.bytes, now);
  } else {
    why = OnAllItems(active->job, Internal("the node answered for another number of items"));
  }
  const bool again = !why.empty() && IsTriedAgain(*active, target, why);
  if (answered && !again) AddCopies(*active, target, items);
  if (why.empty()) {
    Complete(*active, index, now);
  } else {
    Fail(*active, index, std::move(why), again, now);
  }
  DispatchAll();
}

// A job's list of copies is bounded, and no node may fill it for the others: what finds no place in
// it is verified all the same, and counted.
void Jobs::AddCopies(Active& active, Target& target, const std::vector<ItemOutcome>& items) {
  std::set<uint32_t> copies;
  std::set<std::string> unlisted;
  for (const ItemOutcome& item : items) {
    if (!item.status.ok()) continue;
    for (const JobTask& copy : item.copies) {
      const std::string key = KeyOf(copy);
      auto known = active.by_copy.find(key);
      if (known == active.by_copy.end()) {
        if (active.job.tasks.size() >= kMaxTasksPerJob || target.listed >= kMaxTasksOfNode) {
          unlisted.insert(key);
          continue;
        }
        ++target.listed;
        known = active.by_copy.emplace(key, static_cast<uint32_t>(active.job.tasks.size())).first;
        active.job.tasks.push_back(copy);
      }
      copies.insert(known->second);
    }
  }
  target.copies.assign(copies.begin(), copies.end());
  target.unlisted = static_cast<uint32_t>(unlisted.size());
}

void Jobs::Complete(Active& active, size_t index, WallTime now) {
  Target& target = active.job.targets[index];
  target.state = TargetState::kDone;
  target.why.clear();
  active.job.updated = now;
  --active.open;
  Emit(JobAction::Kind::kSaveTarget, active, index);
  EndIfSettled(active, now);
}

bool Jobs::IsTriedAgain(const Active& active, const Target& target,
                        const std::vector<ItemFailure>& why) {
  const bool final =
      std::ranges::all_of(why, [](const ItemFailure& item) { return IsFinal(item.code); });
  return !final && target.failures < active.job.spec.retries;
}

void Jobs::Fail(Active& active, size_t index, std::vector<ItemFailure> why, bool again,
                WallTime now) {
  Target& target = active.job.targets[index];
  target.why = Shared(std::move(why));
  ++target.failures;
  active.job.updated = now;
  if (again) {
    ++target.attempt;
    active.retry_at[index] = now + RetryPause(target.failures);
    Emit(JobAction::Kind::kSaveTarget, active, index);
    return;
  }
  target.state = TargetState::kFailed;
  --active.open;
  Emit(JobAction::Kind::kSaveTarget, active, index);
  StopEarly(active, now);
  EndIfSettled(active, now);
}

std::vector<ItemFailure> Jobs::Shared(std::vector<ItemFailure> why) {
  static const SharedText kNotKept = "(its text is not kept: there are too many of them)";
  size_t left = kMaxTextsPerNode;
  SharedText before;
  for (ItemFailure& failure : why) {
    const SharedText told = failure.message;
    const bool same = &failure != &why.front() && told == before;
    const size_t bytes = same ? 0 : told.str().size();
    auto kept = bytes <= left ? texts_.Share(told) : std::nullopt;
    if (kept) {
      left -= bytes;
      failure.message = *std::move(kept);
    } else if (&failure == &why.front()) {
      failure.message = told.str().substr(0, kMaxFirstText);
    } else {
      failure.message = kNotKept;
    }
    before = told;
  }
  return why;
}

}  // namespace hearth::manager
