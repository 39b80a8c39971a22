#include "manager/job_json.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>

#include "base/units.h"
#include "manager/time_text.h"

namespace hearth::manager {

namespace {

using nlohmann::json;

// Of what may be long, so that the whole stays within kMaxJobJsonBytes.
constexpr size_t kItemsBudget = 12 << 10;
constexpr size_t kTasksBudget = 40 << 10;
constexpr size_t kMaxReasonBytes = 2 << 10;
constexpr size_t kMaxListed = 64;

std::string Dump(const json& value) {
  return value.dump(-1, ' ', false, json::error_handler_t::replace) + "\n";
}

template <typename T>
json FirstOf(const std::vector<T>& list) {
  return std::vector<T>(list.begin(), list.begin() + std::min(list.size(), kMaxListed));
}

json ArgsJson(const JobSpec& spec) {
  json headers = nullptr;
  for (const std::string& name : spec.header_names) headers[name] = "***";
  std::string platform;
  for (const std::string& name : spec.platforms) platform += (platform.empty() ? "" : ",") + name;
  json urls = json::array();
  size_t budget = kItemsBudget;
  for (const JobItem& item : spec.items) {
    if (item.url.size() > budget) break;
    budget -= item.url.size();
    urls.push_back(item.url);
  }
  return {{"type", JobKindName(spec.kind)},
          {"url", urls.empty() ? json("") : urls.front()},
          {"urls", urls},
          {"filteredQueryParams", spec.filter},
          {"filtered_query_params", spec.filter},
          {"pieceLength", spec.piece_length},
          {"piece_length", spec.piece_length},
          {"tag", spec.tag},
          {"application", spec.application},
          {"headers", std::move(headers)},
          {"username", ""},
          {"password", ""},
          {"platform", platform},
          {"depth", spec.depth},
          {"scope", JobScopeName(spec.scope)},
          {"nodes", FirstOf(spec.nodes)},
          {"node_labels", spec.node_labels},
          {"ips", FirstOf(spec.ips)},
          {"count", spec.count},
          {"percentage", spec.percentage},
          {"concurrency", spec.concurrency},
          {"timeout", std::chrono::nanoseconds(spec.timeout).count()},
          {"retry", spec.retries},
          {"failure_tolerate", spec.failure_tolerate.ToString()},
          {"pin_seconds", spec.pin.count()},
          {"keep", spec.keep},
          {"refresh_seconds", spec.refresh.count()},
          {"priority", spec.priority},
          {"dry_run", spec.dry_run}};
}

json ClustersJson(const std::vector<ClusterInfo>& clusters, const JobSpec& spec,
                  const std::set<std::string>& used) {
  json list = json::array();
  for (const ClusterInfo& cluster : clusters) {
    const bool named = std::ranges::find(spec.clusters, cluster.name) != spec.clusters.end();
    if (!named && !(spec.clusters.empty() && (used.empty() || used.contains(cluster.name)))) {
      continue;
    }
    list.push_back({{"id", cluster.id},
                    {"created_at", TimeText(cluster.created)},
                    {"updated_at", TimeText(cluster.updated)},
                    {"name", cluster.name}});
  }
  return list;
}

std::set<std::string> ClustersOf(const Job& job) {
  std::set<std::string> used;
  for (const Target& target : job.targets) used.insert(target.cluster);
  return used;
}

json HeadJson(const Job& job, const std::vector<ClusterInfo>& clusters,
              const std::set<std::string>& used) {
  return {{"id", job.id},
          {"created_at", TimeText(job.created)},
          {"updated_at", TimeText(job.updated)},
          {"task_id", job.task_id},
          {"bio", job.bio},
          {"type", "preheat"},
          {"state", JobStateName(job.state)},
          {"cancelled", job.cancelled},
          {"reason", job.reason.substr(0, kMaxReasonBytes)},
          {"deadline_at", TimeText(job.deadline)},
          {"args", ArgsJson(job.spec)},
          {"scheduler_clusters", ClustersJson(clusters, job.spec, used)}};
}

json CopyJson(const JobTask& task, const Target& target) {
  return {{"url", task.url},
          {"hostname", target.name},
          {"ip", target.host},
          {"task_id", task.task_id},
          {"digest", task.digest ? json(task.digest->ToString()) : json(nullptr)},
          {"size_bytes", task.size_bytes}};
}

json FailureJson(const JobSpec& spec, const ItemFailure& failure, const Target& target) {
  return {{"url", failure.item < spec.items.size() ? spec.items[failure.item].url : ""},
          {"hostname", target.name},
          {"ip", target.host},
          {"code", StatusCodeName(failure.code)},
          {"description", failure.message.str()}};
}

// Appends entries until the budget is used up.
class Budget {
 public:
  explicit Budget(size_t bytes) : left_(bytes) {}
  bool Add(json& list, json entry) {
    const size_t size = Dump(entry).size();
    if (size > left_) {
      cut_ = true;
      return false;
    }
    left_ -= size;
    list.push_back(std::move(entry));
    return true;
  }
  bool cut() const { return cut_; }

 private:
  size_t left_;
  bool cut_ = false;
};

struct ClusterTasks {
  json success = json::array();
  json failure = json::array();
};

// Failures of all clusters go before anybody's successes: of each node one, then the others.
std::map<std::string, ClusterTasks> TasksOf(const Job& job, Budget& budget) {
  std::map<std::string, ClusterTasks> tasks;
  const auto add_failure = [&](const Target& target, const ItemFailure& failure) {
    return budget.Add(tasks[target.cluster].failure, FailureJson(job.spec, failure, target));
  };
  for (const Target& target : job.targets) {
    (void)tasks[target.cluster];
    if (target.state != TargetState::kFailed || target.why.empty()) continue;
    (void)add_failure(target, target.why.front());
  }
  for (const Target& target : job.targets) {
    if (target.state != TargetState::kFailed || budget.cut()) continue;
    for (size_t i = 1; i < target.why.size(); ++i) {
      if (!add_failure(target, target.why[i])) break;
    }
  }
  for (const Target& target : job.targets) {
    if (target.state != TargetState::kDone || budget.cut()) continue;
    for (const uint32_t copy : target.copies) {
      if (!budget.Add(tasks[target.cluster].success, CopyJson(job.tasks[copy], target))) break;
    }
  }
  return tasks;
}

std::string_view ClusterState(const Job& job, const std::string& cluster) {
  if (job.state == JobState::kSuccess) return JobStateName(JobState::kSuccess);
  bool failed = false;
  for (const Target& target : job.targets) {
    if (target.cluster != cluster) continue;
    const bool open =
        target.state == TargetState::kWaiting || target.state == TargetState::kRunning;
    if (open) return JobStateName(JobState::kPending);
    failed = failed || target.state == TargetState::kFailed;
  }
  return JobStateName(failed ? JobState::kFailure : JobState::kSuccess);
}

json ResultJson(const Job& job, const std::vector<ClusterInfo>& clusters) {
  Budget budget(kTasksBudget);
  json states = json::array();
  for (auto& [name, tasks] : TasksOf(job, budget)) {
    const auto cluster = std::ranges::find(clusters, name, &ClusterInfo::name);
    const std::string_view state = ClusterState(job, name);
    json results = json::array();
    results.push_back({{"scheduler_cluster_id", cluster == clusters.end() ? 0 : cluster->id},
                       {"success_tasks", std::move(tasks.success)},
                       {"failure_tasks", std::move(tasks.failure)}});
    states.push_back(
        {{"task_uuid", job.task_id},
         {"task_name", "preheat"},
         {"state", state},
         {"error",
          state == JobStateName(JobState::kFailure) ? job.reason.substr(0, kMaxReasonBytes) : ""},
         {"created_at", TimeText(job.created)},
         {"ttl", 0},
         {"results", std::move(results)}});
  }
  return {{"group_uuid", job.task_id},           {"state", JobStateName(job.state)},
          {"created_at", TimeText(job.created)}, {"updated_at", TimeText(job.updated)},
          {"job_states", std::move(states)},     {"truncated", budget.cut()}};
}

json BytesJson(const TargetBytes& bytes) {
  return {{"bytes_done", bytes.done},       {"bytes_total", bytes.total},
          {"bytes_fetched", bytes.fetched}, {"peer_bytes", bytes.peer},
          {"origin_bytes", bytes.origin},   {"present_bytes", PresentOf(bytes)},
          {"bytes_missing", bytes.missing}, {"layers_missing", bytes.layers_missing}};
}

json ProgressJson(const Job& job) {
  const JobCounts counts = CountsOf(job);
  json progress = BytesJson(counts.bytes);
  progress["present_bytes"] = counts.present_bytes;
  progress["bytes_per_second"] = job.bytes_per_second;
  const auto left = TimeLeftOf(job);
  progress["eta_seconds"] = left ? json(left->count()) : json(nullptr);
  progress["nodes"] = {{"total", counts.total()},
                       {"waiting", counts.waiting},
                       {"running", counts.running},
                       {"succeeded", counts.done},
                       {"failed", counts.failed}};
  return progress;
}

}  // namespace

std::string JobJson(const Job& job, const std::vector<ClusterInfo>& clusters) {
  json out = HeadJson(job, clusters, ClustersOf(job));
  out["progress"] = ProgressJson(job);
  out["result"] = ResultJson(job, clusters);
  return Dump(out);
}

std::string JobHeadJson(const Job& job, const std::vector<ClusterInfo>& clusters) {
  json out = HeadJson(job, clusters, ClustersOf(job));
  out["progress"] = ProgressJson(job);
  return Dump(out);
}

std::string JobListJson(const std::vector<Job>& jobs, const std::vector<ClusterInfo>& clusters) {
  json list = json::array();
  for (const Job& job : jobs) list.push_back(HeadJson(job, clusters, {}));
  return Dump(list);
}

std::string JobNodesJson(const Job& job, const NodePage& page, const DiskFree& disk_free) {
  json nodes = json::array();
  size_t matching = 0;
  const size_t first = (page.page - 1) * page.per_page;
  Budget budget(kMaxNodesJsonBytes);
  for (const Target& target : job.targets) {
    if (page.state && target.state != *page.state) continue;
    const size_t place = matching++;
    if (place < first || place >= first + page.per_page) continue;
    json node = BytesJson(target.bytes);
    node["name"] = target.name;
    node["ip"] = target.host;
    node["cluster"] = target.cluster;
    node["state"] = TargetStateName(target.state);
    node["attempt"] = target.attempt;
    node["depth"] = target.depth;
    const auto free = disk_free ? disk_free(target.node_id) : std::nullopt;
    node["disk_free_bytes"] = free ? json(*free) : json(nullptr);
    node["failures"] = json::array();
    for (const ItemFailure& failure : target.why) {
      if (budget.cut() || !budget.Add(node["failures"], FailureJson(job.spec, failure, target))) {
        break;
      }
    }
    node["unlisted_tasks"] = target.unlisted;
    node["tasks"] = json::array();
    for (const uint32_t copy : target.copies) {
      if (budget.cut() || !budget.Add(node["tasks"], CopyJson(job.tasks[copy], target))) break;
    }
    nodes.push_back(std::move(node));
  }
  return Dump({{"total", matching}, {"nodes", std::move(nodes)}, {"truncated", budget.cut()}});
}

}  // namespace hearth::manager
