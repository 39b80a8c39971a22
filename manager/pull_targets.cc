#include "manager/pull_targets.h"

#include <map>

#include "manager/job_scope.h"

namespace hearth::manager {

namespace {

void Fail(Target& target, size_t items, const Status& why) {
  target.state = TargetState::kFailed;
  for (size_t i = 0; i < items; ++i) {
    target.why.push_back({static_cast<uint32_t>(i), why.code(), why.message()});
  }
}

}  // namespace

Result<std::vector<Target>> ChoosePullTargets(const PullJob& job, const std::vector<Node>& nodes) {
  std::vector<Target> targets;
  const size_t items = job.images.size();
  const auto add = [&](const Node& node) {
    targets.push_back(TargetFor(node));
    if (node.banned) {
      Fail(targets.back(), items, PermissionDenied("the node is banned: " + node.ban_reason));
    } else if (node.cordoned) {
      Fail(targets.back(), items,
           FailedPrecondition("the node is cordoned: " + node.cordon_reason));
    }
  };
  if (job.node_selector) {
    for (const Node& node : nodes) {
      if (!node.cordoned && job.node_selector->Matches(node.profile.labels)) add(node);
    }
    if (!targets.empty()) return targets;
    return FailedPrecondition("labelSelector: no node has these labels (hearth nodes ls)");
  }
  std::map<std::string, const Node*> by_name;
  for (const Node& node : nodes) by_name[node.profile.name] = &node;
  for (const std::string& name : job.node_names) {
    if (const auto node = by_name.find(name); node != by_name.end()) {
      add(*node->second);
      continue;
    }
    targets.emplace_back().name = name;
    Fail(targets.back(), items, NotFound("no node of this name has joined (hearth nodes ls)"));
  }
  return targets;
}

}  // namespace hearth::manager
