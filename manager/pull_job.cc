#include "manager/pull_job.h"

#include <algorithm>
#include <set>

#include "manager/kube_name.h"
#include "oci/reference.h"

namespace hearth::manager {

namespace {

constexpr size_t kMaxImages = 256;  // of one order
constexpr size_t kMaxNodes = 20'000;
constexpr uint64_t kMaxConcurrency = 20'000;
constexpr uint64_t kMaxTimeoutSeconds = 7 * 24 * 3600;
constexpr uint64_t kMaxRetries = 100;

void DropRepeated(std::vector<std::string>& texts) {
  std::set<std::string> seen;
  std::erase_if(texts, [&](const std::string& text) { return !seen.insert(text).second; });
}

void ReadMetadata(YamlObject& document, PullJob& job) {
  auto metadata = document.Object("metadata");
  if (!metadata) return document.Reject("metadata", "missing (it holds the job's name)");
  metadata->Text("name", job.name);
  metadata->Pairs("labels", job.labels);
  // What kubectl and an API server add.
  for (const char* field :
       {"annotations", "creationTimestamp", "deletionGracePeriodSeconds", "deletionTimestamp",
        "finalizers", "generateName", "generation", "managedFields", "namespace", "ownerReferences",
        "resourceVersion", "selfLink", "uid"}) {
    metadata->Ignore(field);
  }
  if (!IsKubeName(job.name)) {
    metadata->Reject("name", "must be a name of lower case letters, digits, \"-\" and \".\"");
  }
  metadata->Finish();
}

void ReadImages(YamlObject& from, PullJob& job) {
  from.Texts("images", job.images);
  if (job.images.empty()) from.Reject("images", "must name at least one image");
  if (job.images.size() > kMaxImages) from.Reject("images", "at most 256 images");
  for (const std::string& image : job.images) {
    const auto reference = oci::Reference::Parse(image);
    if (!reference.ok()) from.Reject("images", reference.status().message());
  }
  DropRepeated(job.images);
}

LabelSelector ReadSelector(YamlObject& from) {
  LabelSelector selector;
  std::map<std::string, std::string> labels;
  from.Pairs("matchLabels", labels);
  for (const auto& [key, value] : labels) {
    selector.requirements.push_back({key, LabelSelector::Operator::kIn, {value}});
    const Status good = LabelSelector::Check(selector.requirements.back());
    if (!good.ok()) from.Reject("matchLabels", good.message());
  }
  for (YamlObject& expression : from.Objects("matchExpressions")) {
    LabelSelector::Requirement requirement;
    std::string op;
    expression.Text("key", requirement.key);
    expression.Text("operator", op);
    expression.Texts("values", requirement.values);
    expression.Finish();
    const auto parsed = LabelSelector::ParseOperator(op);
    if (!parsed.ok()) {
      expression.Reject("operator", parsed.status().message());
      continue;
    }
    requirement.op = *parsed;
    const Status good = LabelSelector::Check(requirement);
    if (!good.ok()) expression.Reject("", good.message());
    selector.requirements.push_back(std::move(requirement));
  }
  from.Finish();
  return selector;
}

void ReadNodes(YamlObject& from, PullJob& job) {
  from.Texts("nodeNames", job.node_names);
  if (job.node_names.size() > kMaxNodes) from.Reject("nodeNames", "at most 20,000 nodes");
  for (const std::string& name : job.node_names) {
    if (!IsKubeName(name))
      from.Reject("nodeNames", "\"" + name.substr(0, 64) + "\" is no node's name");
  }
  DropRepeated(job.node_names);
  if (auto selector = from.Object("labelSelector")) job.node_selector = ReadSelector(*selector);
  if (job.node_names.empty() == !job.node_selector) {
    from.Reject("", job.node_selector ? "has both nodeNames and labelSelector: leave one out"
                                      : "needs nodeNames or labelSelector");
  }
}

void ReadChecks(YamlObject& from, PullJob& job) {
  std::vector<std::string> names;
  from.Texts("checkItems", names);
  if (names.empty()) return;
  DropRepeated(names);
  job.checks.clear();
  for (const std::string& name : names) {
    if (name == "cpu") {
      job.checks.push_back(PullJob::Check::kCpu);
    } else if (name == "mem") {
      job.checks.push_back(PullJob::Check::kMemory);
    } else if (name == "disk") {
      job.checks.push_back(PullJob::Check::kDisk);
    } else {
      from.Reject("checkItems", "knows cpu, mem and disk, not \"" + name.substr(0, 64) + "\"");
    }
  }
}

void ReadSecrets(YamlObject& from, PullJob& job) {
  const auto take = [&](const char* field, const std::string& secret) {
    if (!IsKubePath(secret)) return from.Reject(field, "must be a secret's NAMESPACE/NAME");
    job.secrets.push_back(secret);
  };
  std::string secret;
  std::vector<std::string> more;
  from.Text("imageSecrets", secret);
  from.Texts("imagePullSecrets", more);
  if (!secret.empty()) take("imageSecrets", secret);
  for (const std::string& one : more) take("imagePullSecrets", one);
  DropRepeated(job.secrets);
}

void ReadTemplate(YamlObject& from, PullJob& job) {
  ReadImages(from, job);
  ReadNodes(from, job);
  ReadChecks(from, job);
  ReadSecrets(from, job);

  std::string tolerance;
  from.TextOrNumber("failureTolerate", tolerance);
  if (!tolerance.empty()) {
    const auto parsed = FailureTolerance::Parse(tolerance);
    if (parsed.ok()) job.failure_tolerate = *parsed;
    if (!parsed.ok()) from.Reject("failureTolerate", parsed.status().message());
  }
  // Zero is as good as absent.
  uint64_t concurrency = 0;
  uint64_t timeout_seconds = 0;
  uint64_t retries = 0;
  from.Integer("concurrency", kMaxConcurrency, concurrency);
  from.Integer("timeoutSeconds", kMaxTimeoutSeconds, timeout_seconds);
  from.Integer("retryTimes", kMaxRetries, retries);
  if (concurrency > 0) job.concurrency = static_cast<uint32_t>(concurrency);
  if (timeout_seconds > 0) job.timeout = std::chrono::seconds(timeout_seconds);
  job.retries = static_cast<uint32_t>(retries);
  from.Boolean("pin", job.pin);

  // As old samples of KubeEdge have them, which no version of it ever read.
  from.Misspelling("nodes", "nodeNames");
  from.Misspelling("nodeSelector", "labelSelector");
  from.Misspelling("imageSecret", "imageSecrets");
  from.Misspelling("timeoutSecondsOnEachNode", "timeoutSeconds");
  from.Misspelling("timeout", "timeoutSeconds");
  from.Misspelling("retry", "retryTimes");
  from.Finish();
}

}  // namespace

PullJob PullJob::Read(YamlObject& document) {
  PullJob job;
  std::string version;
  document.Text("apiVersion", version);
  document.Ignore("kind");
  if (version != "operations.kubeedge.io/v1alpha1" &&
      version != "operations.kubeedge.io/v1alpha2") {
    document.Reject("apiVersion", "must be operations.kubeedge.io/v1alpha1 or …/v1alpha2");
  }
  ReadMetadata(document, job);
  auto spec = document.Object("spec");
  auto from = spec ? spec->Object("imagePrePullTemplate") : std::nullopt;
  if (!spec) {
    document.Reject("spec", "missing");
  } else if (!from) {
    spec->Reject("imagePrePullTemplate", "missing");
  } else {
    ReadTemplate(*from, job);
  }
  if (spec) spec->Finish();
  document.Ignore("status");
  document.Finish();
  return job;
}

}  // namespace hearth::manager
