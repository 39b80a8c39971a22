#include "manager/job_store.h"

#include <cstdio>
#include <nlohmann/json.hpp>

namespace hearth::manager {

namespace {

using nlohmann::json;

constexpr kv::Family kFamily = kv::Family::kOrders;
constexpr const char* kNextKey = "next_job";
constexpr const char* kHeads = "job/";
constexpr const char* kTargets = "job_target/";
constexpr const char* kTasks = "job_task/";
constexpr const char* kDocuments = "job_document/";

std::string Hex(uint64_t number, int digits) {
  char text[17] = {};
  (void)std::snprintf(text, sizeof(text), "%0*llx", digits,
                      static_cast<unsigned long long>(number));
  return text;
}
std::string HeadKey(JobId id) { return kHeads + Hex(id, 16); }
std::string DocumentKey(JobId id) { return kDocuments + Hex(id, 16); }
std::string PrefixOf(const char* kind, JobId id) { return kind + Hex(id, 16) + "/"; }
std::string PartKey(const char* kind, JobId id, size_t number) {
  return PrefixOf(kind, id) + Hex(number, 8);
}

std::string Dump(const json& value) {
  return value.dump(-1, ' ', false, json::error_handler_t::replace);
}

json ToJson(const JobSpec& spec) {
  json items = json::array();
  for (const JobItem& item : spec.items) {
    json one = {{"url", item.url}};
    if (!item.reference.empty()) one["reference"] = item.reference;
    if (!item.base_url.empty()) one["base_url"] = item.base_url;
    if (item.plain_http) one["plain_http"] = *item.plain_http;
    if (!item.task_id.empty()) one["task_id"] = item.task_id;
    items.push_back(std::move(one));
  }
  return {{"kind", JobKindName(spec.kind)},
          {"items", std::move(items)},
          {"tag", spec.tag},
          {"application", spec.application},
          {"filter", spec.filter},
          {"piece_length", spec.piece_length},
          {"platforms", spec.platforms},
          {"depth", spec.depth},
          {"pin_seconds", spec.pin.count()},
          {"scope", JobScopeName(spec.scope)},
          {"clusters", spec.clusters},
          {"nodes", spec.nodes},
          {"node_labels", spec.node_labels},
          {"ips", spec.ips},
          {"count", spec.count},
          {"percentage", spec.percentage},
          {"concurrency", spec.concurrency},
          {"parallel_items", spec.parallel_items},
          {"timeout_ms", spec.timeout.count()},
          {"retries", spec.retries},
          {"failure_tolerate", spec.failure_tolerate.ToString()},
          {"node_timeout_ms", spec.node_timeout.count()},
          {"stop_early", spec.stop_early},
          {"keep", spec.keep},
          {"refresh_seconds", spec.refresh.count()},
          {"priority", spec.priority},
          {"dry_run", spec.dry_run},
          {"check_cpu", spec.check_cpu},
          {"check_memory", spec.check_memory},
          {"header_names", spec.header_names}};
}

template <typename T>
void Read(const json& record, const char* key, T& out) {
  out = record.at(key).get<T>();
}

// Written by ourselves: what is no name of ours is a damaged record.
template <typename T>
T Named(Result<T> parsed) {
  if (!parsed.ok()) throw json::other_error::create(501, parsed.status().message(), nullptr);
  return *parsed;
}

JobSpec SpecFrom(const json& record) {
  JobSpec spec;
  spec.kind = Named(ParseJobKind(record.at("kind").get<std::string>()));
  for (const json& one : record.at("items")) {
    JobItem item;
    Read(one, "url", item.url);
    item.reference = one.value("reference", "");
    item.base_url = one.value("base_url", "");
    item.task_id = one.value("task_id", "");
    if (one.contains("plain_http")) item.plain_http = one.at("plain_http").get<bool>();
    spec.items.push_back(std::move(item));
  }
  Read(record, "tag", spec.tag);
  Read(record, "application", spec.application);
  Read(record, "filter", spec.filter);
  Read(record, "piece_length", spec.piece_length);
  Read(record, "platforms", spec.platforms);
  Read(record, "depth", spec.depth);
  spec.pin = std::chrono::seconds(record.at("pin_seconds").get<int64_t>());
  spec.scope = Named(ParseJobScope(record.at("scope").get<std::string>()));
  Read(record, "clusters", spec.clusters);
  Read(record, "nodes", spec.nodes);
  Read(record, "node_labels", spec.node_labels);
  Read(record, "ips", spec.ips);
  Read(record, "count", spec.count);
  Read(record, "percentage", spec.percentage);
  Read(record, "concurrency", spec.concurrency);
  Read(record, "parallel_items", spec.parallel_items);
  spec.timeout = std::chrono::milliseconds(record.at("timeout_ms").get<int64_t>());
  Read(record, "retries", spec.retries);
  spec.failure_tolerate =
      Named(FailureTolerance::Parse(record.at("failure_tolerate").get<std::string>()));
  spec.node_timeout = std::chrono::milliseconds(record.at("node_timeout_ms").get<int64_t>());
  Read(record, "stop_early", spec.stop_early);
  spec.keep = record.value("keep", false);
  spec.refresh = std::chrono::seconds(record.value("refresh_seconds", int64_t{0}));
  spec.priority = record.value("priority", 0u);
  spec.dry_run = record.value("dry_run", false);
  Read(record, "check_cpu", spec.check_cpu);
  Read(record, "check_memory", spec.check_memory);
  Read(record, "header_names", spec.header_names);
  return spec;
}

json ToJson(const Job& job) {
  return {{"task_id", job.task_id},
          {"name", job.name},
          {"bio", job.bio},
          {"state", JobStateName(job.state)},
          {"cancelled", job.cancelled},
          {"reason", job.reason},
          {"created", ToUnixNanos(job.created)},
          {"updated", ToUnixNanos(job.updated)},
          {"refreshed", ToUnixNanos(job.refreshed)},
          {"deadline", ToUnixNanos(job.deadline)},
          {"spec", ToJson(job.spec)},
          {"sealed", job.sealed},
          {"idempotency_key", job.idempotency_key},
          {"request_sum", job.request_sum}};
}

Job HeadFrom(JobId id, const json& record) {
  Job job;
  job.id = id;
  Read(record, "task_id", job.task_id);
  Read(record, "name", job.name);
  Read(record, "bio", job.bio);
  job.state = Named(ParseJobState(record.at("state").get<std::string>()));
  Read(record, "cancelled", job.cancelled);
  Read(record, "reason", job.reason);
  job.created = FromUnixNanos(record.at("created").get<int64_t>());
  job.updated = FromUnixNanos(record.at("updated").get<int64_t>());
  job.refreshed = FromUnixNanos(record.value("refreshed", ToUnixNanos(job.created)));
  job.deadline = FromUnixNanos(record.at("deadline").get<int64_t>());
  job.spec = SpecFrom(record.at("spec"));
  Read(record, "sealed", job.sealed);
  Read(record, "idempotency_key", job.idempotency_key);
  Read(record, "request_sum", job.request_sum);
  return job;
}

json ToJson(const Target& target) {
  json why = json::array();
  const SharedText* before = nullptr;
  for (const ItemFailure& failure : target.why) {
    json one = {{"item", failure.item}, {"code", static_cast<int>(failure.code)}};
    // Absent: as the one before.
    if (before == nullptr || failure.message != *before) one["message"] = failure.message.str();
    before = &failure.message;
    why.push_back(std::move(one));
  }
  return {{"node_id", target.node_id},
          {"name", target.name},
          {"host", target.host},
          {"cluster", target.cluster},
          {"state", TargetStateName(target.state)},
          {"attempt", target.attempt},
          {"failures", target.failures},
          {"copies", target.copies},
          {"unlisted", target.unlisted},
          {"listed", target.listed},
          {"why", std::move(why)},
          {"depth", target.depth},
          {"bytes",
           {target.bytes.done, target.bytes.total, target.bytes.fetched, target.bytes.peer,
            target.bytes.origin, target.bytes.missing, target.bytes.layers_missing}}};
}

Target TargetFrom(const json& record) {
  Target target;
  Read(record, "node_id", target.node_id);
  Read(record, "name", target.name);
  Read(record, "host", target.host);
  Read(record, "cluster", target.cluster);
  target.state = Named(ParseTargetState(record.at("state").get<std::string>()));
  Read(record, "attempt", target.attempt);
  Read(record, "failures", target.failures);
  Read(record, "copies", target.copies);
  target.unlisted = record.value("unlisted", 0u);
  target.listed = record.value("listed", 0u);
  SharedText message;
  for (const json& failure : record.at("why")) {
    if (failure.contains("message")) message = failure.at("message").get<std::string>();
    target.why.push_back({failure.at("item").get<uint32_t>(),
                          static_cast<StatusCode>(failure.at("code").get<int>()), message});
  }
  Read(record, "depth", target.depth);
  const json& bytes = record.at("bytes");
  target.bytes = {bytes.at(0).get<uint64_t>(), bytes.at(1).get<uint64_t>(),
                  bytes.at(2).get<uint64_t>(), bytes.at(3).get<uint64_t>(),
                  bytes.at(4).get<uint64_t>()};
  if (bytes.size() > 6) {
    target.bytes.missing = bytes.at(5).get<uint64_t>();
    target.bytes.layers_missing = bytes.at(6).get<uint64_t>();
  }
  return target;
}

json ToJson(const JobTask& task) {
  json record = {{"url", task.url}, {"task_id", task.task_id}, {"size_bytes", task.size_bytes}};
  if (task.digest) record["digest"] = task.digest->ToString();
  return record;
}

JobTask TaskFrom(const json& record) {
  JobTask task;
  Read(record, "url", task.url);
  Read(record, "task_id", task.task_id);
  Read(record, "size_bytes", task.size_bytes);
  if (record.contains("digest")) {
    task.digest = Named(Digest::Parse(record.at("digest").get<std::string>()));
  }
  return task;
}

// `take` may throw json's exceptions.
Status ScanJson(const kv::Kv& kv, const std::string& prefix,
                const std::function<void(std::string_view key, const json& record)>& take) {
  Status bad;
  TRY_STATUS(kv.Scan(kFamily, prefix, [&](std::string_view key, std::string_view value) {
    try {
      take(key.substr(prefix.size()), json::parse(value));
    } catch (const json::exception& error) {
      bad = DataLoss("record " + std::string(key) + ": " + error.what());
    }
    return bad.ok();
  }));
  return bad;
}

}  // namespace

Result<JobId> JobStore::NextId() {
  JobId id = 1;
  if (const auto kept = kv_.Get(kv::Family::kMeta, kNextKey); kept.ok()) {
    id = std::strtoull(kept->c_str(), nullptr, 10);
    if (id == 0) return DataLoss("record " + std::string(kNextKey));
  } else if (kept.status().code() != StatusCode::kNotFound) {
    return kept.status();
  }
  TRY_STATUS(kv_.Put(kv::Family::kMeta, kNextKey, std::to_string(id + 1), kv::Sync::kNo));
  return id;
}

Status JobStore::DeleteParts(JobId id, kv::Batch& batch) const {
  for (const char* kind : {kTargets, kTasks}) {
    TRY_STATUS(kv_.Scan(kFamily, PrefixOf(kind, id), [&](std::string_view key, std::string_view) {
      batch.Delete(kFamily, std::string(key));
      return true;
    }));
  }
  return OkStatus();
}

Status JobStore::Replace(const Job& job) {
  kv::Batch batch;
  TRY_STATUS(DeleteParts(job.id, batch));
  return Put({&job, 1}, batch);
}

Status JobStore::Create(std::span<const Job> jobs) {
  kv::Batch batch;
  return Put(jobs, batch);
}

Status JobStore::Put(std::span<const Job> jobs, kv::Batch& batch) {
  for (const Job& job : jobs) {
    batch.Put(kFamily, HeadKey(job.id), Dump(ToJson(job)));
    if (!job.document.empty()) batch.Put(kFamily, DocumentKey(job.id), job.document);
    for (size_t i = 0; i < job.targets.size(); ++i) {
      batch.Put(kFamily, PartKey(kTargets, job.id, i), Dump(ToJson(job.targets[i])));
    }
    for (size_t i = 0; i < job.tasks.size(); ++i) {
      batch.Put(kFamily, PartKey(kTasks, job.id, i), Dump(ToJson(job.tasks[i])));
    }
  }
  return kv_.Write(batch, kv::Sync::kYes);
}

Status JobStore::SaveRound(const Job& job) {
  kv::Batch batch;
  batch.Put(kFamily, HeadKey(job.id), Dump(ToJson(job)));
  for (size_t i = 0; i < job.targets.size(); ++i) {
    if (job.targets[i].state != TargetState::kWaiting) continue;
    batch.Put(kFamily, PartKey(kTargets, job.id, i), Dump(ToJson(job.targets[i])));
  }
  return kv_.Write(batch, kv::Sync::kYes);
}

Status JobStore::SaveHead(const Job& job) {
  return kv_.Put(kFamily, HeadKey(job.id), Dump(ToJson(job)), kv::Sync::kYes);
}

Status JobStore::SaveHeads(std::span<const Job> jobs) {
  kv::Batch batch;
  for (const Job& job : jobs) batch.Put(kFamily, HeadKey(job.id), Dump(ToJson(job)));
  return kv_.Write(batch, kv::Sync::kYes);
}

Status JobStore::SaveTarget(const Job& job, size_t target, size_t first_task) {
  kv::Batch batch;
  for (size_t i = first_task; i < job.tasks.size(); ++i) {
    batch.Put(kFamily, PartKey(kTasks, job.id, i), Dump(ToJson(job.tasks[i])));
  }
  batch.Put(kFamily, PartKey(kTargets, job.id, target), Dump(ToJson(job.targets[target])));
  // Lost with a power cut at worst: then the node is asked again, and has it.
  return kv_.Write(batch, kv::Sync::kNo);
}

Status JobStore::ForHeads(const std::function<void(const Job& head)>& take) const {
  return ScanJson(kv_, kHeads, [&](std::string_view key, const json& record) {
    take(HeadFrom(std::strtoull(std::string(key).c_str(), nullptr, 16), record));
  });
}

Result<Job> JobStore::Head(JobId id) const {
  const auto head = kv_.Get(kFamily, HeadKey(id));
  if (head.status().code() == StatusCode::kNotFound) {
    return NotFound("there is no job " + std::to_string(id));
  }
  TRY_STATUS(head.status());
  try {
    return HeadFrom(id, json::parse(*head));
  } catch (const json::exception& error) {
    return DataLoss("record " + HeadKey(id) + ": " + error.what());
  }
}

Result<Job> JobStore::Load(JobId id) const {
  Job job = TRY(Head(id));
  if (auto document = kv_.Get(kFamily, DocumentKey(id)); document.ok()) {
    job.document = *std::move(document);
  } else if (document.status().code() != StatusCode::kNotFound) {
    return document.status();
  }
  TRY_STATUS(ScanJson(kv_, PrefixOf(kTargets, id), [&](std::string_view, const json& record) {
    job.targets.push_back(TargetFrom(record));
  }));
  job.tasks = TRY(Tasks(id));
  for (const Target& target : job.targets) {
    if (!target.copies.empty() && target.copies.back() >= job.tasks.size()) {
      return DataLoss("job " + std::to_string(id) + " names tasks that are not written down");
    }
  }
  return job;
}

Result<std::vector<JobTask>> JobStore::Tasks(JobId id) const {
  std::vector<JobTask> tasks;
  TRY_STATUS(ScanJson(kv_, PrefixOf(kTasks, id), [&](std::string_view, const json& record) {
    tasks.push_back(TaskFrom(record));
  }));
  return tasks;
}

Status JobStore::Remove(JobId id) {
  TRY_STATUS(kv_.Get(kFamily, HeadKey(id)).status());
  kv::Batch batch;
  batch.Delete(kFamily, HeadKey(id));
  batch.Delete(kFamily, DocumentKey(id));
  TRY_STATUS(DeleteParts(id, batch));
  return kv_.Write(batch, kv::Sync::kYes);
}

}  // namespace hearth::manager
