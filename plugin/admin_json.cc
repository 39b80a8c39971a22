#include "plugin/admin_json.h"

#include <nlohmann/json.hpp>
#include <utility>

namespace hearth::plugin {

namespace {

using nlohmann::json;

// Text from strangers may be no UTF-8; it is shown with replacement characters.
std::string Dump(const json& value) {
  return value.dump(-1, ' ', false, json::error_handler_t::replace);
}

json Seconds(const std::optional<WallTime>& time) {
  if (!time || ToUnixNanos(*time) == 0) return nullptr;
  return ToUnixNanos(*time) / 1'000'000'000;
}

std::string_view StateName(const LayerProgress& layer) {
  switch (layer.phase) {
    case BuildPhase::kWaiting:
      return layer.fetched_bytes > 0 ? "fetching" : "waiting";
    case BuildPhase::kUnpacking:
      return layer.fetched_bytes < layer.size_bytes ? "fetching" : "unpacking";
    case BuildPhase::kCommitting:
      return "unpacking";
    case BuildPhase::kDone:
      return "done";
    case BuildPhase::kFailed:
      return "failed";
  }
  return "waiting";
}

json BlobJson(const BlobExplanation& blob) {
  json sources = json::array();
  for (const auto& source : blob.sources) {
    sources.push_back(
        {{"kind", p2p::NameOf(source.kind)}, {"name", source.name}, {"bytes", source.bytes}});
  }
  return {{"digest", blob.digest.ToString()}, {"kind", blob.kind},
          {"size_bytes", blob.size_bytes},    {"present_bytes", blob.present_bytes},
          {"complete", blob.complete},        {"claimed", blob.claimed},
          {"preheated", blob.preheated},      {"pinned_until", Seconds(blob.pinned_until)},
          {"sources", std::move(sources)},    {"reason", blob.reason}};
}

json LayerJson(const LayerExplanation& layer) {
  return {{"chain_id", layer.chain.ToString()},
          {"diff_id", layer.diff_id.ToString()},
          {"blob", layer.blob.ToString()},
          {"unpacked", layer.unpacked},
          {"preheated", layer.preheated},
          {"pinned_until", Seconds(layer.pinned_until)},
          {"reason", layer.reason}};
}

std::string_view KindName(store::SnapshotKind kind) {
  switch (kind) {
    case store::SnapshotKind::kView:
      return "view";
    case store::SnapshotKind::kActive:
      return "active";
    case store::SnapshotKind::kCommitted:
      return "committed";
  }
  return "committed";
}

Status AddBlobs(store::Store& store, json& out) {
  out["blobs"] = json::array();
  TRY_STATUS(store.blobs().List([&](const store::BlobInfo& blob) {
    out["blobs"].push_back({{"digest", blob.digest.ToString()},
                            {"size_bytes", blob.size_bytes},
                            {"claimed", blob.claimed},
                            {"preheated", blob.preheated},
                            {"pinned_until", Seconds(blob.pinned_until)}});
    return true;
  }));
  out["partials"] = json::array();
  return store.blobs().ListPartial([&](const store::PartialInfo& partial) {
    out["partials"].push_back({{"digest", partial.digest.ToString()},
                               {"size_bytes", partial.size_bytes},
                               {"present_bytes", partial.present_bytes},
                               {"being_fetched", partial.being_fetched}});
    return true;
  });
}

Status AddSnapshots(store::Store& store, json& out) {
  out["layers"] = json::array();
  TRY_STATUS(store.snapshots().ListLayers([&](const store::LayerInfo& layer) {
    out["layers"].push_back({{"chain_id", layer.chain.ToString()},
                             {"blob", layer.blob.ToString()},
                             {"directory", layer.directory},
                             {"disk_bytes", layer.disk_bytes},
                             {"inodes", layer.inodes},
                             {"preheated", layer.preheated},
                             {"pinned_until", Seconds(layer.pinned_until)},
                             {"durable", layer.durable}});
    return true;
  }));
  out["snapshots"] = json::array();
  return store.snapshots().List([&](const store::SnapshotInfo& snapshot) {
    out["snapshots"].push_back(
        {{"name", snapshot.name},
         {"parent", snapshot.parent},
         {"kind", KindName(snapshot.kind)},
         {"directory", snapshot.directory},
         {"chain_id", snapshot.chain ? json(snapshot.chain->ToString()) : json(nullptr)}});
    return true;
  });
}

}  // namespace

std::string ErrorJson(const Status& status) {
  return Dump({{"code", StatusCodeName(status.code())}, {"message", status.message()}});
}

std::string ExplanationJson(const Explanation& explanation) {
  json out = {{"reference", explanation.reference},
              {"digest", explanation.digest.ToString()},
              {"platform", explanation.platform},
              {"warm", explanation.warm},
              {"depth", explanation.depth ? std::string(DepthName(*explanation.depth)) : "none"},
              {"registered", explanation.registered},
              {"reasons", explanation.reasons},
              {"blobs", json::array()},
              {"layers", json::array()}};
  for (const auto& blob : explanation.blobs) out["blobs"].push_back(BlobJson(blob));
  for (const auto& layer : explanation.layers) out["layers"].push_back(LayerJson(layer));
  return Dump(out);
}

std::string FileExplanationJson(const FileExplanation& explanation) {
  const auto side = [](const FileSide& of) -> json {
    return {{"task_id", of.task_id},
            {"url", of.url},
            {"tag", of.tag},
            {"application", of.application},
            {"filter", of.filter},
            {"digest", of.digest ? json(of.digest->ToString()) : json(nullptr)},
            {"size_bytes", of.size_bytes},
            {"present_bytes", of.present_bytes},
            {"complete", of.complete},
            {"differs_in", of.differs_in}};
  };
  json out = {{"kind", "file"},
              {"reference", explanation.asked.url},
              {"warm", explanation.warm},
              {"rule", explanation.rule ? json(*explanation.rule) : json(nullptr)},
              {"reasons", explanation.reasons},
              {"asked", side(explanation.asked)},
              {"stored", json::array()}};
  for (const FileSide& stored : explanation.stored) out["stored"].push_back(side(stored));
  return Dump(out);
}

Result<std::string> StoreJson(store::Store& store) {
  json out;
  TRY_STATUS(AddBlobs(store, out));
  TRY_STATUS(AddSnapshots(store, out));
  out["ingests"] = json::array();
  TRY_STATUS(store.ingests().List([&](const store::IngestInfo& ingest) {
    out["ingests"].push_back({{"ref", ingest.ref},
                              {"offset_bytes", ingest.offset_bytes},
                              {"total_bytes", ingest.total_bytes}});
    return true;
  }));
  return Dump(out);
}

std::string ResolvedEvent(const std::string& reference, const std::string& platform,
                          const PreheatProgress& progress) {
  return Dump({{"event", "resolved"},
               {"reference", reference},
               {"digest", progress.digest.ToString()},
               {"platform", platform},
               {"layers", progress.layers.size()},
               {"bytes_total", progress.bytes_total}});
}

std::string ProgressEvent(const std::string& reference, const PreheatProgress& progress,
                          uint64_t began_bytes, double seconds) {
  const auto rate = [seconds](uint64_t bytes) {
    return seconds > 0 ? static_cast<double>(bytes) / seconds : 0;
  };
  const double bytes_per_second = rate(progress.bytes_done - began_bytes);
  json out = {{"event", "progress"},
              {"reference", reference},
              {"bytes_done", progress.bytes_done},
              {"bytes_total", progress.bytes_total},
              {"bytes_per_second", bytes_per_second},
              {"peer_bytes", progress.peer_bytes},
              {"peer_bytes_per_second", rate(progress.peer_bytes)},
              {"origin_bytes", progress.origin_bytes},
              {"origin_bytes_per_second", rate(progress.origin_bytes)},
              {"eta_seconds", nullptr},
              {"layers", json::array()}};
  const uint64_t left = progress.bytes_total - progress.bytes_done;
  if (bytes_per_second > 0) out["eta_seconds"] = static_cast<double>(left) / bytes_per_second;
  for (const auto& layer : progress.layers) {
    out["layers"].push_back({{"digest", layer.digest.ToString()},
                             {"size_bytes", layer.size_bytes},
                             {"fetched_bytes", layer.fetched_bytes},
                             {"state", StateName(layer)}});
  }
  return Dump(out);
}

std::string LayerDoneEvent(const std::string& reference, const Digest& digest) {
  return Dump({{"event", "layer"},
               {"reference", reference},
               {"digest", digest.ToString()},
               {"state", "done"}});
}

std::string DoneEvent(const std::string& reference, const PreheatResult& result, double seconds) {
  return Dump({{"event", "done"},
               {"reference", reference},
               {"digest", result.digest.ToString()},
               {"depth", DepthName(result.depth)},
               {"already_warm", result.already_warm},
               {"bytes_fetched", result.bytes_fetched},
               {"bytes_total", result.bytes_total},
               {"peer_bytes", result.peer_bytes},
               {"origin_bytes", result.origin_bytes},
               {"seconds", seconds}});
}

std::string VictimEvent(const store::Victim& victim) {
  return Dump(
      {{"event", "evicted"},
       {"kind", store::Name(victim.kind)},
       {"keep", store::Name(victim.keep)},
       {victim.kind == store::VictimKind::kLayer ? "chain_id" : "digest", victim.id.ToString()},
       {"size_bytes", victim.size_bytes},
       {"last_used", Seconds(victim.last_used)}});
}

std::string CollectedEvent(const store::Collected& done, bool dry_run) {
  return Dump({{"event", "done"},
               {"dry_run", dry_run},
               {"blobs", done.blobs},
               {"layers", done.layers},
               {"freed_bytes", done.freed_bytes},
               {"freed_inodes", done.freed_inodes},
               {"missing_bytes", done.after.free_bytes},
               {"missing_inodes", done.after.inodes},
               {"over_quota_bytes", done.after.quota_bytes}});
}

std::string UnpreheatedJson(const Unpreheated& done) {
  return Dump({{"reference", done.reference},
               {"digest", done.digest.ToString()},
               {"blobs", done.blobs},
               {"layers", done.layers},
               {"freed_bytes", done.freed_bytes},
               {"used", done.used},
               {"shared", done.shared}});
}

std::string FailedEvent(const std::string& reference, const Status& status) {
  return Dump({{"event", "failed"},
               {"reference", reference},
               {"code", StatusCodeName(status.code())},
               {"message", status.message()}});
}

}  // namespace hearth::plugin
