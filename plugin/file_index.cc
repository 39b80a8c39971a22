#include "plugin/file_index.h"

#include "base/digest.h"
#include "base/log.h"

namespace hearth::plugin {
namespace {

// "at/<sha256 of the address>/<task ID>" → nothing; beside the records, whose keys are task IDs.
constexpr std::string_view kAt = "at/";
Result<std::string> AddressPrefix(const FileName& name) {
  return std::string(kAt) + Digest::Of(TRY(name.Address())).hex() + "/";
}

}  // namespace

bool FileIndex::Means(const FileName& name, const FileTask& task) {
  if (name.tag != task.tag || name.application != task.application) return false;
  for (const auto* filter : {&name.filter, &task.filter}) {
    const auto key = name.Key(*filter);
    if (key.ok() && *key == task.key) return true;
  }
  // The stored URL may still carry what this request's filter leaves out.
  FileName stored = name;
  stored.url = task.key;
  const auto ours = name.Key(name.filter);
  const auto theirs = stored.Key(name.filter);
  return ours.ok() && theirs.ok() && *ours == *theirs;
}

std::optional<FileTask> FileIndex::Load(std::string_view task_id) const {
  const auto record = kv_.Get(kv::Family::kTasks, task_id);
  if (!record.ok()) return std::nullopt;
  auto task = FileTask::Decode(*record);
  if (task.ok()) return *std::move(task);
  LOG_WARNING("record of a file cannot be read", {{"task_id", std::string(task_id)}});
  return std::nullopt;
}

Result<std::vector<FileIndex::Entry>> FileIndex::AtAddress(const FileName& name) const {
  const std::string prefix = TRY(AddressPrefix(name));
  std::vector<Entry> entries;
  TRY_STATUS(
      kv_.Scan(kv::Family::kTasks, prefix, [&](std::string_view key, std::string_view /*none*/) {
        const std::string task_id(key.substr(prefix.size()));
        if (auto task = Load(task_id)) entries.push_back({task_id, *std::move(task)});
        return entries.size() < kMaxSameAddress;
      }));
  return entries;
}

Result<FileIndex::Entry> FileIndex::Find(const FileName& name) const {
  Entry own{.task_id = TRY(name.TaskId()), .task = {}};
  std::optional<Entry> found;
  for (Entry& entry : TRY(AtAddress(name))) {
    if (!Means(name, entry.task)) continue;
    const bool better = !found || (entry.task.digest && !found->task.digest) ||
                        (entry.task_id == own.task_id && entry.task.digest);
    if (better) found = std::move(entry);
  }
  if (found) return *std::move(found);
  if (auto task = Load(own.task_id)) own.task = *std::move(task);
  own.task.url = TRY(name.ShownUrl());
  own.task.key = TRY(name.Key(name.filter));
  own.task.filter = name.filter;
  own.task.tag = name.tag;
  own.task.application = name.application;
  return own;
}

Status FileIndex::Save(const Entry& entry, const FileName& name, kv::Sync sync) {
  kv::Batch batch;
  batch.Put(kv::Family::kTasks, entry.task_id, entry.task.Encode());
  batch.Put(kv::Family::kTasks, TRY(AddressPrefix(name)) + entry.task_id, "");
  {
    MutexLock lock(mutex_);
    saving_.insert(entry.task_id);
  }
  const Status saved = kv_.Write(batch, sync);
  MutexLock lock(mutex_);
  saving_.erase(saving_.find(entry.task_id));
  return saved;
}

Status FileIndex::Sweep(const std::function<bool(const Entry& entry)>& keep) {
  MutexLock lock(mutex_);
  constexpr char kDigits[] = "0123456789abcdef";
  const std::string prefix{kDigits[next_sweep_ / 16], kDigits[next_sweep_ % 16]};
  ++next_sweep_;
  kv::Batch batch;
  size_t kept = 0;
  TRY_STATUS(kv_.Scan(kv::Family::kTasks, prefix,
                      [&](std::string_view key, std::string_view record) NO_THREAD_SAFETY_ANALYSIS {
                        Entry entry{.task_id = std::string(key), .task = {}};
                        if (saving_.contains(entry.task_id)) return true;
                        auto task = FileTask::Decode(record);
                        if (task.ok()) entry.task = *std::move(task);
                        if (kept < kMaxFiles / 256 && task.ok() && keep(entry)) {
                          ++kept;
                        } else {
                          batch.Delete(kv::Family::kTasks, entry.task_id);
                        }
                        return true;
                      }));
  // Names of what an earlier sweep dropped.
  TRY_STATUS(kv_.Scan(kv::Family::kTasks, std::string(kAt) + prefix,
                      [&](std::string_view key, std::string_view /*none*/)
                          NO_THREAD_SAFETY_ANALYSIS {
                            const std::string task_id(key.substr(key.rfind('/') + 1));
                            if (!saving_.contains(task_id) && !Load(task_id)) {
                              batch.Delete(kv::Family::kTasks, std::string(key));
                            }
                            return true;
                          }));
  return batch.empty() ? OkStatus() : kv_.Write(batch, kv::Sync::kNo);
}

}  // namespace hearth::plugin
