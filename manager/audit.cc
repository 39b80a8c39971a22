#include "manager/audit.h"

#include <cstdio>
#include <nlohmann/json.hpp>
#include <utility>

#include "base/log.h"

namespace hearth::manager {

namespace {

using nlohmann::json;

constexpr const char* kKeys = "audit/";

std::string KeyOf(uint64_t id) {
  char text[17] = {};
  (void)std::snprintf(text, sizeof(text), "%016llx", static_cast<unsigned long long>(id));
  return std::string(kKeys) + text;
}

Result<AuditEntry> Decode(uint64_t id, const std::string& value) {
  AuditEntry entry{.id = id};
  try {
    const json record = json::parse(value);
    entry.at = FromUnixNanos(record.at("at").get<int64_t>());
    entry.method = record.at("method").get<std::string>();
    entry.path = record.at("path").get<std::string>();
    entry.token_id = record.at("token_id").get<std::string>();
    entry.token_name = record.at("token_name").get<std::string>();
    entry.from = record.at("from").get<std::string>();
    entry.outcome = record.at("outcome").get<std::string>();
  } catch (const json::exception& error) {
    return DataLoss("record " + KeyOf(id) + ": " + error.what());
  }
  return entry;
}

}  // namespace

Result<std::unique_ptr<Audit>> Audit::Open(kv::Kv& kv, const Clock& clock) {
  std::unique_ptr<Audit> audit(new Audit(kv, clock));
  MutexLock lock(audit->mutex_);
  const std::string_view prefix = kKeys;
  uint64_t first = audit->first_;
  uint64_t next = audit->next_;
  TRY_STATUS(kv.Scan(kv::Family::kMeta, prefix, [&](std::string_view key, std::string_view) {
    const uint64_t id = std::strtoull(std::string(key.substr(prefix.size())).c_str(), nullptr, 16);
    if (next == 1) first = id;
    next = id + 1;
    return true;
  }));
  audit->first_ = first;
  audit->next_ = next;
  return audit;
}

void Audit::Add(AuditEntry entry) {
  for (std::string* text :
       {&entry.path, &entry.token_name, &entry.outcome, &entry.method, &entry.from}) {
    if (text->size() > kMaxTextBytes) text->resize(kMaxTextBytes);
  }
  LOG_INFO("audit", {{"method", entry.method},
                     {"path", entry.path},
                     {"token_id", entry.token_id},
                     {"token_name", entry.token_name},
                     {"from", entry.from},
                     {"outcome", entry.outcome}});
  const json record = {{"at", ToUnixNanos(clock_.WallNow())},
                       {"method", entry.method},
                       {"path", entry.path},
                       {"token_id", entry.token_id},
                       {"token_name", entry.token_name},
                       {"from", entry.from},
                       {"outcome", entry.outcome}};
  MutexLock lock(mutex_);
  kv::Batch batch;
  batch.Put(kv::Family::kMeta, KeyOf(next_),
            record.dump(-1, ' ', false, json::error_handler_t::replace));
  const bool full = next_ - first_ >= kMaxEntries;
  if (full) batch.Delete(kv::Family::kMeta, KeyOf(first_));
  const Status written = kv_.Write(batch, kv::Sync::kNo);
  if (!written.ok()) {
    LOG_ERROR("an entry of the audit is in the log alone", {{"error", written}});
    return;
  }
  ++next_;
  if (full) ++first_;
}

Result<Audit::Page> Audit::List(uint64_t first, size_t count) const {
  MutexLock lock(mutex_);
  Page page{.entries = {}, .total = next_ - first_};
  for (uint64_t i = first; i < page.total && page.entries.size() < count; ++i) {
    const uint64_t id = next_ - 1 - i;
    page.entries.push_back(TRY(Decode(id, TRY(kv_.Get(kv::Family::kMeta, KeyOf(id))))));
  }
  return page;
}

}  // namespace hearth::manager
