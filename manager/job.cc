#include "manager/job.h"

#include <array>
#include <span>

namespace hearth::manager {

namespace {

template <typename E>
struct Name {
  E value;
  std::string_view name;
};

constexpr std::array<Name<JobKind>, 2> kKinds = {
    {{JobKind::kImage, "image"}, {JobKind::kFile, "file"}}};
// The first of each value is the one that is shown; "single_peer" is v2.1.60's.
constexpr std::array<Name<JobScope>, 4> kScopes = {{{JobScope::kAllPeers, "all_peers"},
                                                    {JobScope::kAllSeedPeers, "all_seed_peers"},
                                                    {JobScope::kSingleSeedPeer, "single_seed_peer"},
                                                    {JobScope::kSingleSeedPeer, "single_peer"}}};
constexpr std::array<Name<JobState>, 3> kStates = {{{JobState::kPending, "PENDING"},
                                                    {JobState::kSuccess, "SUCCESS"},
                                                    {JobState::kFailure, "FAILURE"}}};
constexpr std::array<Name<TargetState>, 4> kTargetStates = {{{TargetState::kWaiting, "waiting"},
                                                             {TargetState::kRunning, "running"},
                                                             {TargetState::kDone, "done"},
                                                             {TargetState::kFailed, "failed"}}};

template <typename E, size_t N>
std::string_view NameOf(const std::array<Name<E>, N>& names, E value) {
  for (const auto& entry : names) {
    if (entry.value == value) return entry.name;
  }
  return "";
}

template <typename E, size_t N>
Result<E> ValueOf(const std::array<Name<E>, N>& names, std::string_view name) {
  std::string all;
  for (const auto& entry : names) {
    if (entry.name == name) return entry.value;
    all += (all.empty() ? "" : ", ") + std::string(entry.name);
  }
  return InvalidArgument("\"" + std::string(name.substr(0, 64)) + "\" is not one of " + all);
}

}  // namespace

std::string_view JobKindName(JobKind kind) { return NameOf(kKinds, kind); }
std::string_view JobScopeName(JobScope scope) { return NameOf(kScopes, scope); }
std::string_view JobStateName(JobState state) { return NameOf(kStates, state); }
std::string_view TargetStateName(TargetState state) { return NameOf(kTargetStates, state); }

Result<JobKind> ParseJobKind(std::string_view name) { return ValueOf(kKinds, name); }
Result<JobScope> ParseJobScope(std::string_view name) { return ValueOf(kScopes, name); }
Result<JobState> ParseJobState(std::string_view name) { return ValueOf(kStates, name); }
Result<TargetState> ParseTargetState(std::string_view name) { return ValueOf(kTargetStates, name); }

void Add(const TargetBytes& more, TargetBytes& sum) {
  sum.done += more.done;
  sum.total += more.total;
  sum.fetched += more.fetched;
  sum.peer += more.peer;
  sum.origin += more.origin;
  sum.missing += more.missing;
  sum.layers_missing += more.layers_missing;
}

uint64_t ReceivedOf(const TargetBytes& bytes) {
  return std::max(bytes.fetched, bytes.peer + bytes.origin);
}

uint64_t PresentOf(const TargetBytes& bytes) {
  return bytes.done - std::min(bytes.done, ReceivedOf(bytes));
}

std::optional<std::chrono::seconds> TimeLeftOf(const Job& job) {
  if (job.bytes_per_second == 0) return std::nullopt;
  uint64_t left = 0;
  uint64_t known = 0;
  uint64_t known_bytes = 0;
  uint64_t unknown = 0;
  for (const Target& target : job.targets) {
    const bool open =
        target.state == TargetState::kWaiting || target.state == TargetState::kRunning;
    if (target.bytes.total > 0) {
      ++known;
      known_bytes += target.bytes.total;
      if (open) left += target.bytes.total - std::min(target.bytes.total, target.bytes.done);
    } else if (open) {
      ++unknown;
    }
  }
  if (known == 0) return std::nullopt;
  left += unknown * (known_bytes / known);
  return std::chrono::seconds((left + job.bytes_per_second - 1) / job.bytes_per_second);
}

JobCounts CountsOf(const Job& job) {
  JobCounts counts;
  for (const Target& target : job.targets) {
    switch (target.state) {
      case TargetState::kWaiting:
        ++counts.waiting;
        break;
      case TargetState::kRunning:
        ++counts.running;
        break;
      case TargetState::kDone:
        ++counts.done;
        break;
      case TargetState::kFailed:
        ++counts.failed;
        break;
    }
    Add(target.bytes, counts.bytes);
    counts.present_bytes += PresentOf(target.bytes);
  }
  return counts;
}

}  // namespace hearth::manager
