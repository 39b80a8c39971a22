#include <iostream>
#include <nlohmann/json.hpp>

#include "base/units.h"
#include "cmd/admin_client.h"
#include "cmd/commands.h"
#include "cmd/interrupt.h"
#include "cmd/preheat_progress.h"
#include "cmd/table.h"
#include "net/http.h"

namespace hearth::cmd {

namespace {

using nlohmann::json;

std::string Text(const json& entry, const char* key) {
  const auto found = entry.find(key);
  return found != entry.end() && found->is_string() ? found->get<std::string>() : "";
}

std::string Size(const json& entry, const char* key) {
  return FormatByteSize(static_cast<uint64_t>(entry.value(key, 0.0)));
}

// "claimed preheated", "-" for neither.
std::string Flags(const json& entry, std::initializer_list<const char*> keys) {
  std::string flags;
  for (const char* key : keys) {
    if (entry.value(key, false)) flags += (flags.empty() ? "" : " ") + std::string(key);
  }
  return flags.empty() ? "-" : flags;
}

void PrintSection(const char* title, const Table& table) {
  if (!table.empty()) std::cout << title << "\n" << table.ToString() << "\n";
}

void Print(const json& answer) {
  Table blobs({"DIGEST", "SIZE", "FLAGS"});
  for (const json& blob : answer.value("blobs", json::array())) {
    blobs.Add(
        {Text(blob, "digest"), Size(blob, "size_bytes"), Flags(blob, {"claimed", "preheated"})});
  }
  PrintSection("blobs", blobs);
  Table partials({"DIGEST", "PRESENT", "SIZE", "FLAGS"});
  for (const json& partial : answer.value("partials", json::array())) {
    partials.Add({Text(partial, "digest"), Size(partial, "present_bytes"),
                  Size(partial, "size_bytes"), Flags(partial, {"being_fetched"})});
  }
  PrintSection("partial blobs", partials);
  Table layers({"CHAIN ID", "BLOB", "ON DISK", "INODES", "FLAGS"});
  for (const json& layer : answer.value("layers", json::array())) {
    layers.Add({Text(layer, "chain_id"), ShortDigest(Text(layer, "blob")),
                Size(layer, "disk_bytes"),
                std::to_string(static_cast<uint64_t>(layer.value("inodes", 0.0))),
                Flags(layer, {"preheated", "durable"})});
  }
  PrintSection("layers", layers);
  Table snapshots({"NAME", "KIND", "PARENT"});
  for (const json& snapshot : answer.value("snapshots", json::array())) {
    snapshots.Add({Text(snapshot, "name"), Text(snapshot, "kind"), Text(snapshot, "parent")});
  }
  PrintSection("snapshots", snapshots);
  Table ingests({"REF", "OFFSET", "TOTAL"});
  for (const json& ingest : answer.value("ingests", json::array())) {
    ingests.Add({Text(ingest, "ref"), Size(ingest, "offset_bytes"), Size(ingest, "total_bytes")});
  }
  PrintSection("ingests", ingests);
}

// "evicted layer sha256:… (preheated, 12 MiB)"
std::string VictimLine(const json& victim, bool dry_run) {
  const std::string kind = Text(victim, "kind");
  return (dry_run ? "would evict " : "evicted ") + kind + " " +
         Text(victim, kind == "layer" ? "chain_id" : "digest") + " (" + Text(victim, "keep") +
         ", " + Size(victim, "size_bytes") + ")";
}

std::string CollectedLine(const json& done, bool dry_run) {
  std::string line = Size(done, "freed_bytes") + (dry_run ? " would be freed" : " freed");
  if (done.value("missing_bytes", 0.0) > 0) {
    line += "; " + Size(done, "missing_bytes") + " are still missing to store.min_free";
  }
  if (const auto inodes = done.value("missing_inodes", uint64_t{0}); inodes > 0) {
    line += "; " + std::to_string(inodes) + " inodes are still missing to store.min_free_inodes";
  }
  if (done.value("over_quota_bytes", 0.0) > 0) {
    line += "; still " + Size(done, "over_quota_bytes") + " over store.quota";
  }
  return line;
}

}  // namespace

int RunStoreList(const Common& common) {
  const Interrupt interrupt;
  const auto config = LoadConfig(common);
  if (!config.ok()) return Fail("store ls", config.status());
  const auto client = AdminClient::Create(config->AdminSocket());
  if (!client.ok()) return Fail("store ls", client.status());
  const auto body = (*client)->Call("GET", "/v1/store", interrupt.token());
  if (interrupt.happened()) return kInterrupted;
  if (!body.ok()) return Fail("store ls", body.status());
  try {
    const json answer = json::parse(*body);
    if (common.json) {
      std::cout << answer.dump(2, ' ', false, json::error_handler_t::replace) << "\n";
    } else if (!common.quiet) {
      Print(answer);
    }
  } catch (const json::exception& error) {
    return Fail("store ls", Internal(std::string("the node's answer cannot be read: ") +
                                     error.what() + " (are node and command of one version?)"));
  }
  return kDone;
}

int RunStoreVerify(const Common& common, bool repair) {
  const Interrupt interrupt;
  const auto config = LoadConfig(common);
  if (!config.ok()) return Fail("store verify", config.status());
  const auto client = AdminClient::Create(config->AdminSocket());
  if (!client.ok()) return Fail("store verify", client.status());
  json problems = json::array();
  bool ended = false;
  Status status = (*client)->Stream(
      repair ? "/v1/store/verify?repair=true" : "/v1/store/verify", "",
      [&](std::string_view line) -> Status {
        const json event = json::parse(line, nullptr, false);
        if (!event.is_object()) return Internal("not an event: " + std::string(line));
        if (event.contains("problem")) {
          problems.push_back(event["problem"]);
          if (!common.json) std::cout << Text(event, "problem") << std::endl;
        }
        ended = ended || Text(event, "event") == "done";
        if (Text(event, "event") == "failed") return Internal(Text(event, "message"));
        return OkStatus();
      },
      interrupt.token());
  if (interrupt.happened()) return kInterrupted;
  if (status.ok() && !ended) status = Unavailable("the node ended its answer early (see its log)");
  if (!status.ok()) return Fail("store verify", status);
  if (common.json) {
    std::cout << json{{"problems", problems}, {"repaired", repair}}.dump(
                     2, ' ', false, json::error_handler_t::replace)
              << "\n";
  } else if (!common.quiet) {
    std::cout << (problems.empty() ? "clean"
                                   : std::to_string(problems.size()) + " problems" +
                                         (repair ? ", repaired" : " (--repair mends them)"))
              << "\n";
  }
  return problems.empty() || repair ? kDone : kFailed;
}

int RunStoreCollect(const Common& common, bool dry_run) {
  const Interrupt interrupt;
  const auto config = LoadConfig(common);
  if (!config.ok()) return Fail("store gc", config.status());
  const auto client = AdminClient::Create(config->AdminSocket());
  if (!client.ok()) return Fail("store gc", client.status());
  json evicted = json::array();
  json done;
  Status status = (*client)->Stream(
      dry_run ? "/v1/store/gc?dry_run=true" : "/v1/store/gc", "",
      [&](std::string_view line) -> Status {
        json event = json::parse(line, nullptr, false);
        if (!event.is_object()) return Internal("not an event: " + std::string(line));
        const std::string what = Text(event, "event");
        if (what == "failed") return Internal(Text(event, "message"));
        if (what == "done") done = event;
        if (what != "evicted") return OkStatus();
        event.erase("event");
        if (!common.json && !common.quiet) std::cout << VictimLine(event, dry_run) << std::endl;
        evicted.push_back(std::move(event));
        return OkStatus();
      },
      interrupt.token());
  if (interrupt.happened()) return kInterrupted;
  if (status.ok() && done.is_null()) {
    status = Unavailable("the node ended its answer early (see its log)");
  }
  if (!status.ok()) return Fail("store gc", status);
  if (common.json) {
    done.erase("event");
    done["evicted"] = std::move(evicted);
    std::cout << done.dump(2, ' ', false, json::error_handler_t::replace) << "\n";
  } else if (!common.quiet) {
    std::cout << CollectedLine(done, dry_run) << "\n";
  }
  for (const char* key : {"missing_bytes", "missing_inodes", "over_quota_bytes"}) {
    if (done.value(key, 0.0) > 0) return kPartlyDone;
  }
  return kDone;
}

namespace {

// What `store rm` did, summed up for --output json.
struct Removal {
  json removed = json::array();
  json unpreheated = json::array();
};

std::string UnpreheatedLine(const json& done) {
  std::string line = "no longer preheated: " + Text(done, "reference") + " (" +
                     std::to_string(done.value("blobs", 0)) + " blobs and " +
                     std::to_string(done.value("layers", 0)) + " layers removed, " +
                     Size(done, "freed_bytes");
  if (const int used = done.value("used", 0); used > 0) {
    line += "; " + std::to_string(used) + " stay, which containerd uses";
  }
  if (const int shared = done.value("shared", 0); shared > 0) {
    line += "; " + std::to_string(shared) + " stay, which other preheated images need";
  }
  return line + ")";
}

Status RemoveOne(AdminClient& client, const std::string& name, const Common& common,
                 const Interrupt& interrupt, Removal& all) {
  const bool say = !common.json && !common.quiet;
  if (name.starts_with("sha256:")) {
    TRY_STATUS(client.Call("DELETE", "/v1/store/" + name, interrupt.token()).status());
    all.removed.push_back(name);
    if (say) std::cout << "removed " << name << std::endl;
    return OkStatus();
  }
  const std::string body = TRY(client.Call(
      "DELETE", "/v1/preheat?reference=" + net::PercentEncode(name), interrupt.token()));
  json done = json::parse(body, nullptr, false);
  if (!done.is_object()) return Internal("the node's answer cannot be read");
  if (say) std::cout << UnpreheatedLine(done) << std::endl;
  all.unpreheated.push_back(std::move(done));
  return OkStatus();
}

}  // namespace

int RunStoreRemove(const Common& common, const std::vector<std::string>& names) {
  const Interrupt interrupt;
  const auto config = LoadConfig(common);
  if (!config.ok()) return Fail("store rm", config.status());
  const auto client = AdminClient::Create(config->AdminSocket());
  if (!client.ok()) return Fail("store rm", client.status());
  Removal all;
  int code = kDone;
  for (const std::string& name : names) {
    const Status done = RemoveOne(**client, name, common, interrupt, all);
    if (interrupt.happened()) return kInterrupted;
    if (done.ok()) continue;
    code = Fail("store rm " + name, done);
    if (done.code() == StatusCode::kUnavailable) break;
  }
  const bool some = !all.removed.empty() || !all.unpreheated.empty();
  if (common.json) {
    std::cout << json{{"removed", all.removed}, {"unpreheated", all.unpreheated}}.dump(
                     2, ' ', false, json::error_handler_t::replace)
              << "\n";
  }
  return code != kDone && some ? static_cast<int>(kPartlyDone) : code;
}

}  // namespace hearth::cmd
