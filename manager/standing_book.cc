#include "manager/standing_book.h"

#include <algorithm>
#include <cstring>

namespace hearth::manager {

namespace {

// Two blobs that share it cost one needless question.
uint64_t ShortOf(const Digest& blob) {
  uint64_t number = 0;
  std::memcpy(&number, blob.bytes().data(), sizeof(number));
  return number;
}

}  // namespace

void StandingBook::Keep(JobId job, std::span<const JobTask> tasks) {
  std::vector<uint64_t> blobs;
  for (const JobTask& task : tasks) {
    if (task.digest) blobs.push_back(ShortOf(*task.digest));
  }
  std::ranges::sort(blobs);
  blobs.erase(std::ranges::unique(blobs).begin(), blobs.end());
  Standing& kept = standing_[job];
  // A refresh that has reported nothing yet, or failed, leaves what the nodes have from before.
  if (!blobs.empty()) kept.blobs = std::move(blobs);
}

void StandingBook::KeepOnly(const std::set<JobId>& jobs) {
  std::erase_if(standing_, [&](const auto& entry) { return !jobs.contains(entry.first); });
}

void StandingBook::Came(const std::string& node_id) { arrival_[node_id] = ++arrivals_; }

void StandingBook::Dropped(const std::string& node_id, std::span<const Digest> blobs) {
  for (auto& [job, standing] : standing_) {
    const bool lost = std::ranges::any_of(blobs, [&](const Digest& blob) {
      return std::ranges::binary_search(standing.blobs, ShortOf(blob));
    });
    if (lost) standing.losses[node_id].open = true;
  }
}

void StandingBook::Forget(const std::string& node_id) {
  arrival_.erase(node_id);
  for (auto& [job, standing] : standing_) standing.losses.erase(node_id);
}

bool StandingBook::HasNews(JobId job, WallTime now) const {
  const auto standing = standing_.find(job);
  if (standing == standing_.end()) return arrivals_ > 0;
  return standing->second.asked_to < arrivals_ ||
         std::ranges::any_of(standing->second.losses,
                             [&](const auto& loss) { return loss.second.IsDue(now); });
}

bool StandingBook::IsNews(JobId job, const std::string& node_id, WallTime now) const {
  const auto arrival = arrival_.find(node_id);
  const auto standing = standing_.find(job);
  const uint64_t asked_to = standing == standing_.end() ? 0 : standing->second.asked_to;
  if (arrival != arrival_.end() && arrival->second > asked_to) return true;
  if (standing == standing_.end()) return false;
  const auto loss = standing->second.losses.find(node_id);
  return loss != standing->second.losses.end() && loss->second.IsDue(now);
}

void StandingBook::Asked(JobId job, WallTime now,
                         const std::function<bool(const std::string&)>& runs) {
  Standing& standing = standing_[job];
  standing.asked_to = arrivals_;
  for (auto& [node_id, loss] : standing.losses) {
    if (!loss.IsDue(now) || runs(node_id)) continue;
    const bool quiet = now >= loss.not_before + kLastPause;
    loss.pause = quiet ? kFirstPause : std::min(2 * loss.pause, kLastPause);
    loss.not_before = now + loss.pause;
    loss.open = false;
  }
}

}  // namespace hearth::manager
