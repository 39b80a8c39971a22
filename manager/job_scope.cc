#include "manager/job_scope.h"

#include <algorithm>
#include <map>
#include <set>

#include "base/digest.h"
#include "base/host_port.h"

namespace hearth::manager {

namespace {

using NodeList = std::vector<const Node*>;

std::string HostOf(const Node& node) {
  const auto address = HostPort::Parse(node.profile.data_address);
  return address.ok() ? address->host : node.profile.data_address;
}

bool IsSeed(const Node& node) {
  const auto label = node.profile.labels.find("seed");
  return label != node.profile.labels.end() && label->second == "true";
}

bool HasLabels(const Node& node, const std::map<std::string, std::string>& wanted) {
  return std::ranges::all_of(wanted, [&](const auto& label) {
    const auto found = node.profile.labels.find(label.first);
    return found != node.profile.labels.end() && found->second == label.second;
  });
}

// In an order that is the same for the same items, and spread over the nodes for different ones;
// those that can begin at once come first.
void Shuffle(const JobSpec& spec, NodeList& nodes) {
  std::string seed;
  for (const JobItem& item : spec.items) seed += item.url + "\n";
  std::map<const Node*, Digest> rank;
  for (const Node* node : nodes) rank[node] = Digest::Of(seed + node->id);
  std::ranges::sort(nodes, [&](const Node* a, const Node* b) {
    if (a->connected != b->connected) return a->connected;
    return rank.at(a) < rank.at(b);
  });
}

// What each entry of a list matches at least once. `kind` is for the message.
Status CheckAllFound(const std::vector<std::string>& wanted, const std::set<std::string>& found,
                     const std::string& kind) {
  for (const std::string& name : wanted) {
    if (!found.contains(name)) {
      return NotFound(kind + ": no node of these clusters has \"" + name.substr(0, 64) + "\"");
    }
  }
  return OkStatus();
}

Result<NodeList> Candidates(const JobSpec& spec, const std::vector<Node>& nodes, Missing missing) {
  const bool named = (!spec.nodes.empty() || !spec.ips.empty()) && missing == Missing::kRefuse;
  NodeList chosen;
  std::set<std::string> names;
  std::set<std::string> hosts;
  size_t banned = 0;
  size_t cordoned = 0;
  for (const Node& node : nodes) {
    const auto among = [](const std::vector<std::string>& list, const std::string& value) {
      return list.empty() || std::ranges::find(list, value) != list.end();
    };
    if (!among(spec.clusters, node.cluster)) continue;
    names.insert(node.profile.name);
    hosts.insert(HostOf(node));
    if (!among(spec.nodes, node.profile.name) || !among(spec.ips, HostOf(node)) ||
        !HasLabels(node, spec.node_labels)) {
      continue;
    }
    const bool cordon_counts = node.cordoned && !spec.dry_run;  // which only looks
    // Whoever names it wants it: left out silently, it would count as warm.
    if (named && (node.banned || cordon_counts)) {
      return FailedPrecondition(
          std::string(spec.nodes.empty() ? "ips: " : "nodes: ") + node.profile.name +
          (node.banned ? " is banned" : " is cordoned: " + node.cordon_reason));
    }
    if (node.banned) {
      ++banned;
    } else if (cordon_counts) {
      ++cordoned;
    } else {
      chosen.push_back(&node);
    }
  }
  if (missing == Missing::kRefuse) {
    TRY_STATUS(CheckAllFound(spec.nodes, names, "nodes"));
    TRY_STATUS(CheckAllFound(spec.ips, hosts, "ips"));
  }
  if (!chosen.empty()) return chosen;
  if (cordoned > 0) {
    return FailedPrecondition("every node that the job is for is cordoned (hearth nodes uncordon)");
  }
  if (banned > 0) return FailedPrecondition("every node that the job is for is banned");
  if (!spec.node_labels.empty()) {
    return FailedPrecondition("node_labels: no node has these labels");
  }
  return FailedPrecondition("no node has joined yet (hearth node join)");
}

// A cluster's seed peers, or their stand-in.
NodeList Seeds(const JobSpec& spec, const NodeList& nodes) {
  NodeList seeds;
  for (const Node* node : nodes) {
    if (IsSeed(*node)) seeds.push_back(node);
  }
  const bool stand_in = seeds.empty();
  if (stand_in) seeds = nodes;
  Shuffle(spec, seeds);
  if (stand_in || spec.scope == JobScope::kSingleSeedPeer) seeds.resize(1);
  return seeds;
}

// As in Dragonfly, addresses go before a count, and a count before a percentage.
size_t LimitOf(const JobSpec& spec, size_t nodes) {
  if (!spec.ips.empty()) return nodes;
  if (spec.count > 0) return std::min<size_t>(spec.count, nodes);
  if (spec.percentage > 0) return std::max<size_t>(1, nodes * spec.percentage / 100);
  return nodes;
}

}  // namespace

Target TargetFor(const Node& node) {
  Target target;
  target.node_id = node.id;
  target.name = node.profile.name;
  target.host = HostOf(node);
  target.cluster = node.cluster;
  return target;
}

bool TakesSome(const JobSpec& spec) {
  return spec.scope != JobScope::kAllPeers ||
         (spec.ips.empty() && (spec.count > 0 || spec.percentage > 0));
}

Result<std::vector<Target>> ChooseTargets(const JobSpec& spec, const std::vector<Node>& nodes,
                                          Missing missing) {
  std::map<std::string, NodeList> by_cluster;
  for (const Node* node : TRY(Candidates(spec, nodes, missing)))
    by_cluster[node->cluster].push_back(node);
  std::vector<Target> targets;
  for (auto& [cluster, members] : by_cluster) {
    NodeList chosen = spec.scope == JobScope::kAllPeers ? members : Seeds(spec, members);
    if (const size_t limit = LimitOf(spec, chosen.size()); limit < chosen.size()) {
      Shuffle(spec, chosen);
      chosen.resize(limit);
    }
    std::ranges::sort(chosen, {}, [](const Node* node) { return node->profile.name; });
    for (const Node* node : chosen) targets.push_back(TargetFor(*node));
  }
  return targets;
}

}  // namespace hearth::manager
