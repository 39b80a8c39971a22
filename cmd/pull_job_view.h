// PullJobView: what the manager's JSON says of one pull job, and how it reads on a terminal. Plain
// data; one thread.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/status.h"

namespace hearth::cmd {

struct PullJobView {
  struct Node {
    std::string name;
    std::string phase;  // "Pending", "InProgress", "Successful", "Failure", "Unknown"
    std::string reason;
    uint64_t bytes_done = 0;
    uint64_t bytes_total = 0;
  };

  std::string name;
  std::string phase;  // "Init", "InProgress", "Completed", "Failure"
  std::string reason;
  uint64_t desired = 0;
  uint64_t succeeded = 0;
  uint64_t failed = 0;
  std::vector<Node> nodes;  // failed ones first, then those that work

  // kDataLoss: it is no pull job.
  static Result<PullJobView> Parse(const std::string& json);

  bool ended() const { return phase == "Completed" || phase == "Failure"; }
  // "everything: 3 of 5 nodes have it, 1 failed"
  std::string Summary() const;
  // The summary, then a line for each node that works or failed: at most `height` lines of at most
  // `width` columns.
  std::vector<std::string> Lines(size_t width, size_t height) const;
};

}  // namespace hearth::cmd
