#include "plugin/repair_call.h"

#include <nlohmann/json.hpp>
#include <utility>

namespace hearth::plugin {

namespace {

using nlohmann::json;

const char* NameOf(RepairKind kind) {
  switch (kind) {
    case RepairKind::kImage:
      return "image";
    case RepairKind::kContainer:
      return "container";
    case RepairKind::kSnapshot:
      return "snapshot";
    case RepairKind::kBlob:
      return "blob";
  }
  return "";
}

const char* NameOf(RepairState state) {
  switch (state) {
    case RepairState::kWhole:
      return "whole";
    case RepairState::kLost:
      return "lost";
    case RepairState::kRepaired:
      return "repaired";
    case RepairState::kEmptied:
      return "emptied";
    case RepairState::kFailed:
      return "failed";
  }
  return "";
}

Result<RepairRequest> ParseRequest(std::string_view body) {
  const json parsed = json::parse(body, nullptr, false);
  if (!parsed.is_object()) return InvalidArgument("request body: not a JSON object");
  RepairRequest request;
  for (const auto& [key, value] : parsed.items()) {
    if (key != "dry_run" && key != "verify") {
      return InvalidArgument("request body: unknown field \"" + key + "\"");
    }
    if (!value.is_boolean()) return InvalidArgument("request body: " + key + " is true or false");
    (key == "verify" ? request.verify : request.dry_run) = value.get<bool>();
  }
  return request;
}

}  // namespace

Status RunRepair(Repair& repair, std::string_view body,
                 const std::function<void(std::string, bool)>& write, std::stop_token stop) {
  const RepairRequest request = TRY(ParseRequest(body));
  const auto tell = [&](const json& event, bool replaceable = false) {
    write(event.dump(-1, ' ', false, json::error_handler_t::replace), replaceable);
  };
  RepairEvents events;
  events.damaged = [&](const std::string& problem) {
    tell({{"event", "damaged"}, {"problem", problem}});
  };
  events.surveyed = [&](const RepairLosses& losses) {
    tell({{"event", "surveyed"},
          {"blobs", losses.blobs},
          {"bytes", losses.bytes},
          {"snapshots", losses.snapshots}});
  };
  events.progress = [&](uint64_t done, uint64_t total) {
    tell({{"event", "progress"}, {"bytes_done", done}, {"bytes_total", total}}, true);
  };
  events.item = [&](const RepairItem& item) {
    tell({{"event", "item"},
          {"kind", NameOf(item.kind)},
          {"namespace", item.containerd_namespace},
          {"name", item.name},
          {"state", NameOf(item.state)},
          {"blobs", item.blobs},
          {"layers", item.layers},
          {"bytes", item.bytes},
          {"reason", item.reason}});
  };
  const RepairDone done = TRY(repair.Run(request, events, std::move(stop)));
  tell({{"event", "done"},
        {"blobs", done.blobs},
        {"bytes", done.bytes},
        {"snapshots", done.snapshots},
        {"repaired", done.repaired},
        {"failed", done.failed}});
  return OkStatus();
}

}  // namespace hearth::plugin
