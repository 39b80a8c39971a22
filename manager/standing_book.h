// StandingBook: which nodes standing preheats are to ask again: those that came, or came back, and
// those that dropped a blob of theirs.
//
// Plain state: no I/O, no clock, no lock. A node whose disk is too small for all that is asked of
// it drops again what it fetched: from one loss of a preheat to the next, it is left alone for a
// pause that doubles.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <set>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/clock.h"
#include "base/digest.h"
#include "manager/job.h"

namespace hearth::manager {

class StandingBook {
 public:
  static constexpr std::chrono::minutes kFirstPause{1};  // doubles up to …
  static constexpr std::chrono::minutes kLastPause{64};

  // What the nodes of a standing preheat have; in place of what was said before.
  void Keep(JobId job, std::span<const JobTask> tasks);
  // Of all others nothing is kept any more.
  void KeepOnly(const std::set<JobId>& jobs);

  void Came(const std::string& node_id);
  void Dropped(const std::string& node_id, std::span<const Digest> blobs);
  void Forget(const std::string& node_id);

  bool HasNews(JobId job, WallTime now) const;
  bool IsNews(JobId job, const std::string& node_id, WallTime now) const;
  // Who was news is so no more. But who lost something while it runs the job's order, as `runs`
  // says, may have looked before: it is asked once that is over.
  void Asked(JobId job, WallTime now, const std::function<bool(const std::string&)>& runs);

 private:
  struct Loss {
    bool open = false;
    WallTime not_before{};
    std::chrono::minutes pause{0};
    bool IsDue(WallTime now) const { return open && now >= not_before; }
  };
  struct Standing {
    uint64_t asked_to = 0;        // of the arrivals
    std::vector<uint64_t> blobs;  // their digests' first bytes, sorted
    std::map<std::string, Loss> losses;
  };

  // Streams of nodes that began, numbered; the latest of each node.
  uint64_t arrivals_ = 0;
  std::unordered_map<std::string, uint64_t> arrival_;
  std::map<JobId, Standing> standing_;
};

}  // namespace hearth::manager
