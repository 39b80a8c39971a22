#include "manager/pull_job_json.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>

#include "manager/time_text.h"

namespace hearth::manager {

namespace {

using nlohmann::json;

constexpr size_t kNodesBudget = 192 << 10;
constexpr size_t kDocumentBudget = 48 << 10;
// Of one node's images, so that one that fails with many of them hides no other.
constexpr size_t kImagesBudget = 8 << 10;
constexpr size_t kMaxReasonBytes = 1 << 10;

std::string Dump(const json& value) {
  return value.dump(-1, ' ', false, json::error_handler_t::replace);
}

const char* OperatorName(LabelSelector::Operator op) {
  switch (op) {
    case LabelSelector::Operator::kIn:
      return "In";
    case LabelSelector::Operator::kNotIn:
      return "NotIn";
    case LabelSelector::Operator::kExists:
      return "Exists";
    case LabelSelector::Operator::kDoesNotExist:
      return "DoesNotExist";
  }
  return "";
}

const char* CheckName(PullJob::Check check) {
  switch (check) {
    case PullJob::Check::kCpu:
      return "cpu";
    case PullJob::Check::kMemory:
      return "mem";
    case PullJob::Check::kDisk:
      return "disk";
  }
  return "";
}

json SelectorJson(const LabelSelector& selector) {
  json expressions = json::array();
  for (const auto& requirement : selector.requirements) {
    json one = {{"key", requirement.key}, {"operator", OperatorName(requirement.op)}};
    if (!requirement.values.empty()) one["values"] = requirement.values;
    expressions.push_back(std::move(one));
  }
  return {{"matchExpressions", std::move(expressions)}};
}

json TemplateJson(const PullJob& job) {
  json checks = json::array();
  for (const PullJob::Check check : job.checks) checks.push_back(CheckName(check));
  json out = {{"images", job.images},
              {"checkItems", std::move(checks)},
              {"failureTolerate", job.failure_tolerate.ToString()},
              {"concurrency", job.concurrency},
              {"timeoutSeconds", job.timeout.count()},
              {"retryTimes", job.retries}};
  if (job.node_selector) {
    out["labelSelector"] = SelectorJson(*job.node_selector);
  } else {
    out["nodeNames"] = job.node_names;
  }
  if (!job.secrets.empty()) out["imageSecrets"] = job.secrets.front();
  if (job.secrets.size() > 1) {
    out["imagePullSecrets"] = std::vector<std::string>(job.secrets.begin() + 1, job.secrets.end());
  }
  if (job.pin) out["pin"] = true;
  return out;
}

// As KubeEdge names them; a node that did not answer in time is Unknown there.
const char* NodePhase(const Target& target) {
  switch (target.state) {
    case TargetState::kWaiting:
      return "Pending";
    case TargetState::kRunning:
      return "InProgress";
    case TargetState::kDone:
      return "Successful";
    case TargetState::kFailed:
      return !target.why.empty() && target.why.front().code == StatusCode::kDeadlineExceeded
                 ? "Unknown"
                 : "Failure";
  }
  return "";
}

json NodeJson(const Job& job, const Target& target, bool& truncated) {
  json images = json::array();
  size_t left = kImagesBudget;
  const auto add = [&](json image) {
    const size_t bytes = Dump(image).size() + 1;
    if (bytes > left) {
      truncated = true;
      left = 0;
      return;
    }
    left -= bytes;
    images.push_back(std::move(image));
  };
  std::set<uint32_t> failed;
  for (const ItemFailure& why : target.why) {
    if (why.item >= job.spec.items.size() || !failed.insert(why.item).second) continue;
    add({{"image", job.spec.items[why.item].url},
         {"status", "False"},
         {"reason", why.message.str().substr(0, kMaxReasonBytes)}});
  }
  const bool settled = target.state == TargetState::kDone || target.state == TargetState::kFailed;
  for (uint32_t i = 0; settled && i < job.spec.items.size(); ++i) {
    if (!failed.contains(i)) add({{"image", job.spec.items[i].url}, {"status", "True"}});
  }
  json out = {{"nodeName", target.name},          {"phase", NodePhase(target)},
              {"imageStatus", std::move(images)}, {"attempt", target.attempt},
              {"bytesDone", target.bytes.done},   {"bytesTotal", target.bytes.total},
              {"peerBytes", target.bytes.peer},   {"originBytes", target.bytes.origin}};
  if (!target.why.empty()) {
    out["reason"] = target.why.front().message.str().substr(0, kMaxReasonBytes);
  }
  return out;
}

// Failures first, then what is under way.
int Rank(const Target& target) {
  switch (target.state) {
    case TargetState::kFailed:
      return 0;
    case TargetState::kRunning:
      return 1;
    case TargetState::kWaiting:
      return 2;
    case TargetState::kDone:
      return 3;
  }
  return 4;
}

json CountsJson(const JobCounts& counts) {
  return {{"desired", counts.total()},
          {"pending", counts.waiting},
          {"inProgress", counts.running},
          {"succeeded", counts.done},
          {"failed", counts.failed}};
}

// The uid tells a job from another one of the same name, before or after it.
json MetadataJson(const Job& job) {
  return {{"name", job.name},
          {"uid", job.task_id.substr(job.task_id.find('_') + 1)},
          {"creationTimestamp", TimeText(job.created)}};
}

json StatusJson(const Job& job) {
  const JobCounts counts = CountsOf(job);
  std::vector<const Target*> targets;
  for (const Target& target : job.targets) targets.push_back(&target);
  std::ranges::stable_sort(targets, {}, [](const Target* target) { return Rank(*target); });
  json nodes = json::array();
  size_t left = kNodesBudget;
  bool truncated = false;
  for (const Target* target : targets) {
    json node = NodeJson(job, *target, truncated);
    const size_t bytes = Dump(node).size() + 1;
    if (bytes > left) {
      truncated = true;
      break;
    }
    left -= bytes;
    nodes.push_back(std::move(node));
  }
  return {{"phase", PullPhase(job, counts)},
          {"reason", job.reason.substr(0, kMaxReasonBytes)},
          {"cancelled", job.cancelled},
          {"nodes", CountsJson(counts)},
          {"bytesDone", counts.bytes.done},
          {"bytesTotal", counts.bytes.total},
          {"peerBytes", counts.bytes.peer},
          {"originBytes", counts.bytes.origin},
          {"updateTime", TimeText(job.updated)},
          {"nodeStatus", std::move(nodes)},
          {"truncated", truncated}};
}

}  // namespace

std::string_view PullPhase(const Job& job, const JobCounts& counts) {
  if (job.state == JobState::kSuccess) return "Completed";
  if (job.state == JobState::kFailure) return "Failure";
  return counts.waiting == counts.total() ? "Init" : "InProgress";
}

std::string PullJobDocument(const PullJob& job) {
  return Dump({{"apiVersion", "operations.kubeedge.io/v1alpha2"},
               {"kind", "ImagePrePullJob"},
               {"metadata", {{"name", job.name}, {"labels", job.labels}}},
               {"spec", {{"imagePrePullTemplate", TemplateJson(job)}}}});
}

std::string PullJobHeadJson(const Job& job, const JobCounts& counts) {
  json status = {{"phase", PullPhase(job, counts)},
                 {"reason", job.reason.substr(0, kMaxReasonBytes)},
                 {"cancelled", job.cancelled},
                 {"updateTime", TimeText(job.updated)}};
  if (counts.total() > 0) status["nodes"] = CountsJson(counts);
  return Dump({{"metadata", MetadataJson(job)}, {"status", std::move(status)}});
}

std::string PullJobJson(const Job& job) {
  json out =
      json::parse(job.document.size() <= kDocumentBudget ? job.document : "", nullptr, false);
  // One that names very many nodes or images is shown without its spec.
  if (!out.is_object()) out = {{"kind", "ImagePrePullJob"}, {"metadata", {{"name", job.name}}}};
  out["metadata"].update(MetadataJson(job));
  out["status"] = StatusJson(job);
  return Dump(out) + "\n";
}

}  // namespace hearth::manager
