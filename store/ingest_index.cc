#include "store/ingest_index.h"

#include "store/record.pb.h"

namespace hearth::store {

namespace {

using kv::Family;
using kv::Sync;

Result<IngestRecord> Decode(const std::string& ref, std::string_view value) {
  record::Ingest stored;
  if (!stored.ParseFromArray(value.data(), static_cast<int>(value.size()))) {
    return DataLoss("the record of ingest " + ref + " cannot be read");
  }
  IngestRecord ingest;
  ingest.ref = ref;
  ingest.file = stored.file();
  ingest.total_bytes = stored.total_bytes();
  ingest.expected = stored.expected();
  ingest.started = FromUnixNanos(stored.started_ns());
  ingest.updated = FromUnixNanos(stored.updated_ns());
  ingest.synced_bytes = stored.synced_bytes();
  ingest.boot_id = stored.boot_id();
  return ingest;
}

}  // namespace

Result<IngestRecord> IngestIndex::Find(const std::string& ref) const {
  auto value = kv_.Get(Family::kIngests, ref);
  if (value.status().code() == StatusCode::kNotFound) {
    return NotFound("there is no ingest \"" + ref + "\"");
  }
  return Decode(ref, TRY(std::move(value)));
}

Status IngestIndex::Put(const IngestRecord& ingest) {
  record::Ingest stored;
  stored.set_file(ingest.file);
  stored.set_total_bytes(ingest.total_bytes);
  stored.set_expected(ingest.expected);
  stored.set_started_ns(ToUnixNanos(ingest.started));
  stored.set_updated_ns(ToUnixNanos(ingest.updated));
  stored.set_synced_bytes(ingest.synced_bytes);
  stored.set_boot_id(ingest.boot_id);
  return kv_.Put(Family::kIngests, ingest.ref, stored.SerializeAsString(), Sync::kNo);
}

Status IngestIndex::Remove(const std::string& ref) {
  return kv_.Delete(Family::kIngests, ref, Sync::kNo);
}

Status IngestIndex::Scan(
    const std::function<bool(const std::string&, const Result<IngestRecord>&)>& visit) const {
  return kv_.Scan(Family::kIngests, "", [&](std::string_view key, std::string_view value) {
    const std::string ref(key);
    return visit(ref, Decode(ref, value));
  });
}

}  // namespace hearth::store
