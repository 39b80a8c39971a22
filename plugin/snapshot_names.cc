#include "plugin/snapshot_names.h"

#include <utility>

namespace hearth::plugin {

namespace {

constexpr std::string_view kAliasPrefix = "hearth/";

}  // namespace

std::string SnapshotNames::KeyOf(const std::string& name) {
  const size_t first = name.find('/');
  const size_t second = first == std::string::npos ? first : name.find('/', first + 1);
  return second == std::string::npos ? "" : name.substr(second + 1);
}

std::optional<Digest> SnapshotNames::ChainOfUnpack(const std::string& name) {
  const std::string key = KeyOf(name);
  const size_t space = key.find(' ');
  if (!key.starts_with("extract-") || space == std::string::npos) return std::nullopt;
  const auto chain = Digest::Parse(key.substr(space + 1));
  return chain.ok() ? std::optional(*chain) : std::nullopt;
}

Result<std::map<std::string, SnapshotName>> SnapshotNames::Learn(
    const std::string& ns, const std::function<Status()>& list) {
  {
    MutexLock lock(mutex_);
    if (learning_) return FailedPrecondition("the names of snapshots are being learned already");
    learning_ = true;
    ambiguous_ = false;
    ns_ = ns;
    names_.clear();
  }
  const Status listed = list();
  MutexLock lock(mutex_);
  learning_ = false;
  TRY_STATUS(listed);
  if (ambiguous_) return Aborted("somebody else listed snapshots at the same time");
  return std::exchange(names_, {});
}

Result<store::SnapshotInfo> SnapshotNames::OnStat(const std::string& ns, const std::string& name,
                                                  Result<store::SnapshotInfo> answer) {
  const bool unknown = answer.status().code() == StatusCode::kNotFound;
  if (!answer.ok() && !unknown) return answer;
  MutexLock lock(mutex_);
  if (!learning_) return answer;
  const bool ours =
      ns.empty() ? name.starts_with(ns_ + "/") || name.starts_with(kAliasPrefix) : ns == ns_;
  const std::string key = KeyOf(name);
  if (!ours || key.empty()) return answer;
  const auto [at, added] = names_.try_emplace(key, SnapshotName{.name = name, .known = !unknown});
  if (!added && at->second.name != name) ambiguous_ = true;
  if (!unknown) return answer;
  store::SnapshotInfo stand_in;
  stand_in.name = name;
  stand_in.kind = store::SnapshotKind::kCommitted;
  return stand_in;
}

}  // namespace hearth::plugin
