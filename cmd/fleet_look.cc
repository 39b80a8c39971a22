// What nodes of a manager lack of images: hearth preheat --dry-run, and hearth explain --node or
// --cluster. A dry run of a job that is removed again.
#include <unistd.h>

#include <iostream>
#include <nlohmann/json.hpp>

#include "base/units.h"
#include "cmd/api_client.h"
#include "cmd/interrupt.h"
#include "cmd/manager_commands.h"
#include "cmd/table.h"
#include "net/http.h"

namespace hearth::cmd {

namespace {

using nlohmann::json;

constexpr std::chrono::milliseconds kPoll{200};
constexpr const char* kJobs = "/oapi/v1/jobs";
constexpr const char* kClusters = "/oapi/v1/clusters";
constexpr size_t kNodesPerPage = 1'000;

std::string TextOf(const json& entry, const char* key) {
  const auto found = entry.find(key);
  return found != entry.end() && found->is_string() ? found->get<std::string>() : "";
}

uint64_t NumberOf(const json& entry, const char* key) {
  const auto found = entry.find(key);
  return found != entry.end() && found->is_number_unsigned() ? found->get<uint64_t>() : 0;
}

// The manager of an answer that is no JSON is none of ours.
Result<json> Parse(const std::string& answer) {
  json parsed = json::parse(answer, nullptr, false);
  if (parsed.is_discarded()) return DataLoss("the manager's answer is no JSON");
  return parsed;
}

class Look {
 public:
  Look(const ApiClient& client, std::stop_token stop) : client_(client), stop_(std::move(stop)) {}

  // Every node that was asked: `name` `cluster` `state` `bytes_missing` …, as the API has them.
  Result<json> Run(const FleetLook& look) {
    json args = {{"type", "image"},         {"urls", look.references},
                 {"depth", look.depth},     {"platforms", look.platforms},
                 {"timeout", look.timeout}, {"dry_run", true}};
    if (!look.node.empty()) args["nodes"] = {look.node};
    json body = {{"type", "preheat"}, {"bio", "a look: nothing is fetched"}};
    body["args"] = std::move(args);
    if (!look.cluster.empty()) {
      body["scheduler_cluster_ids"] = {TRY(ClusterId(look.cluster))};
    }
    const json job = TRY(Ask("POST", kJobs, body.dump()));
    const std::string path = std::string(kJobs) + "/" + std::to_string(NumberOf(job, "id"));
    auto nodes = Follow(path);
    // Nobody needs it any more, also where the wait was interrupted.
    (void)client_.Call("DELETE", path, "", {});
    return nodes;
  }

 private:
  Result<json> Ask(const std::string& method, const std::string& target,
                   const std::string& body = "") {
    return Parse(TRY(client_.Call(method, target, body, stop_)));
  }

  Result<uint64_t> ClusterId(const std::string& name) {
    for (const json& cluster : TRY(Ask("GET", kClusters))) {
      if (TextOf(cluster, "name") == name) return NumberOf(cluster, "id");
    }
    return NotFound("there is no cluster " + name);
  }

  Result<json> Follow(const std::string& path) {
    while (TextOf(TRY(Ask("GET", path)), "state") == "PENDING") {
      if (stop_.stop_requested()) return Cancelled("interrupted");
      ::usleep(static_cast<useconds_t>(std::chrono::microseconds(kPoll).count()));
    }
    json nodes = json::array();
    for (size_t page = 1;; ++page) {
      const json answer = TRY(Ask("GET", path + "/nodes?per_page=" + std::to_string(kNodesPerPage) +
                                             "&page=" + std::to_string(page)));
      const json some = answer.value("nodes", json::array());
      for (const json& node : some) nodes.push_back(node);
      if (some.empty() || nodes.size() >= NumberOf(answer, "total")) return nodes;
    }
  }

  const ApiClient& client_;
  const std::stop_token stop_;
};

std::string WhyOf(const json& node) {
  for (const json& failure : node.value("failures", json::array())) {
    return TextOf(failure, "description");
  }
  return "";
}

bool IsWarm(const json& node) {
  return TextOf(node, "state") == "done" && NumberOf(node, "bytes_missing") == 0 &&
         NumberOf(node, "layers_missing") == 0;
}

json Shown(const json& node) {
  return {{"name", TextOf(node, "name")},
          {"cluster", TextOf(node, "cluster")},
          {"warm", IsWarm(node)},
          {"depth", TextOf(node, "depth")},
          {"bytes_total", NumberOf(node, "bytes_total")},
          {"bytes_missing", NumberOf(node, "bytes_missing")},
          {"layers_missing", NumberOf(node, "layers_missing")},
          {"disk_free_bytes", node.value("disk_free_bytes", json())},
          {"failed", TextOf(node, "state") != "done"},
          {"reason", WhyOf(node)}};
}

void Print(const json& nodes) {
  Table table({"NODE", "CLUSTER", "WARM", "MISSING", "NOT UNPACKED", "DISK FREE", "REASON"});
  for (const json& node : nodes) {
    const bool failed = node.at("failed").get<bool>();
    const json& free = node.at("disk_free_bytes");
    table.Add({TextOf(node, "name"), TextOf(node, "cluster"),
               failed                        ? "?"
               : node.at("warm").get<bool>() ? "yes"
                                             : "no",
               failed ? "?"
                      : FormatByteSize(NumberOf(node, "bytes_missing")) + " of " +
                            FormatByteSize(NumberOf(node, "bytes_total")),
               failed ? "?" : std::to_string(NumberOf(node, "layers_missing")),
               free.is_number_unsigned() ? FormatByteSize(free.get<uint64_t>()) : "-",
               TextOf(node, "reason")});
  }
  std::cout << table.ToString();
}

}  // namespace

int RunFleetLook(const Common& common, const ManagerArgs& manager, const FleetLook& look) {
  const Interrupt interrupt;
  const auto client = ApiClient::FromEnvironment(manager);
  if (!client.ok()) return Fail(look.what, client.status());
  const auto found = Look(**client, interrupt.token()).Run(look);
  if (interrupt.happened()) return kInterrupted;
  if (!found.ok()) return Fail(look.what, found.status());
  json nodes = json::array();
  size_t warm = 0;
  size_t failed = 0;
  for (const json& node : *found) {
    nodes.push_back(Shown(node));
    warm += IsWarm(node) ? 1 : 0;
    failed += nodes.back().at("failed").get<bool>() ? 1 : 0;
  }
  if (common.json) {
    const json answer = {{"references", look.references},
                         {"warm", warm == nodes.size()},
                         {"nodes", std::move(nodes)}};
    std::cout << answer.dump(2, ' ', false, json::error_handler_t::replace) << "\n";
  } else if (!common.quiet) {
    Print(nodes);
  }
  const size_t all = found->size();
  if (failed > 0) return failed == all ? kFailed : kPartlyDone;
  return look.needs_warm && warm < all ? kNotThere : kDone;
}

}  // namespace hearth::cmd
