#include <iostream>
#include <nlohmann/json.hpp>

#include "base/units.h"
#include "cmd/admin_client.h"
#include "cmd/commands.h"
#include "cmd/interrupt.h"
#include "cmd/preheat_progress.h"
#include "cmd/table.h"

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

int RunStoreRemove(const Common& common, const std::vector<std::string>& digests) {
  const Interrupt interrupt;
  const auto config = LoadConfig(common);
  if (!config.ok()) return Fail("store rm", config.status());
  const auto client = AdminClient::Create(config->AdminSocket());
  if (!client.ok()) return Fail("store rm", client.status());
  json removed = json::array();
  int code = kDone;
  for (const std::string& digest : digests) {
    const auto answer = (*client)->Call("DELETE", "/v1/store/" + digest, interrupt.token());
    if (interrupt.happened()) return kInterrupted;
    if (answer.ok()) {
      removed.push_back(digest);
      if (!common.json && !common.quiet) std::cout << "removed " << digest << std::endl;
    } else {
      code = Fail("store rm " + digest, answer.status());
      if (answer.status().code() == StatusCode::kUnavailable) break;
    }
  }
  if (common.json)
    std::cout << json{{"removed", removed}}.dump(2, ' ', false, json::error_handler_t::replace)
              << "\n";
  return code != kDone && !removed.empty() ? static_cast<int>(kPartlyDone) : code;
}

}  // namespace hearth::cmd
