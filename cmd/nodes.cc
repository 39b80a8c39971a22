// hearth nodes: the fleet as the manager knows it.
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

std::string Text(const json& entry, const char* key) {
  const auto found = entry.find(key);
  return found != entry.end() && found->is_string() ? found->get<std::string>() : "";
}

std::string StateOf(const json& node) {
  if (node.value("banned", false)) return "banned";
  const std::string state = node.value("connected", false) ? "connected" : "away";
  return state + (node.value("cordoned", false) ? ",cordoned" : "");
}

std::string LabelsOf(const json& node) {
  std::string out;
  const auto labels = node.find("labels");
  if (labels == node.end() || !labels->is_object()) return "-";
  for (const auto& [key, value] : labels->items()) {
    if (value.is_string()) out += (out.empty() ? "" : ",") + key + "=" + value.get<std::string>();
  }
  return out.empty() ? "-" : out;
}

std::string PathOf(const std::string& name) { return "/api/v1/nodes/" + net::PercentEncode(name); }

std::string Dump(const json& answer) {
  return answer.dump(2, ' ', false, json::error_handler_t::replace);
}

struct ApiRequest {
  std::string method = "GET";
  std::string target;
  std::string body = {};
};

// One call; 130 when it was interrupted.
int Ask(const std::string& what, const ManagerArgs& manager, const ApiRequest& request,
        const std::function<void(const json&)>& show) {
  const Interrupt interrupt;
  const auto client = ApiClient::FromEnvironment(manager);
  if (!client.ok()) return Fail(what, client.status());
  const auto body =
      (*client)->Call(request.method, request.target, request.body, interrupt.token());
  if (interrupt.happened()) return kInterrupted;
  if (!body.ok()) return Fail(what, body.status());
  show(body->empty() ? json::object() : json::parse(*body));
  return kDone;
}

}  // namespace

int RunNodesList(const Common& common, const ManagerArgs& manager, const std::string& cluster) {
  const std::string query = cluster.empty() ? "" : "?cluster=" + net::PercentEncode(cluster);
  return Ask("nodes ls", manager, {.target = "/api/v1/nodes" + query}, [&](const json& answer) {
    if (common.json) {
      std::cout << Dump(answer) << "\n";
      return;
    }
    if (common.quiet) return;
    Table table({"NAME", "CLUSTER", "STATE", "VERSION", "BLOBS", "STORE", "LABELS", "LAST SEEN"});
    for (const json& node : answer.at("nodes")) {
      table.Add({Text(node, "name"), Text(node, "cluster"), StateOf(node), Text(node, "version"),
                 std::to_string(node.value("blobs", uint64_t{0})),
                 FormatByteSize(node.value("store_bytes", uint64_t{0})), LabelsOf(node),
                 Text(node, "last_seen_at")});
    }
    std::cout << (table.empty() ? "no node has joined yet\n" : table.ToString());
  });
}

int RunNodesShow(const Common& common, const ManagerArgs& manager, const std::string& name) {
  return Ask("nodes show " + name, manager, {.target = PathOf(name)}, [&](const json& answer) {
    if (common.json) {
      std::cout << Dump(answer) << "\n";
      return;
    }
    if (common.quiet) return;
    Table table({"FIELD", "VALUE"});
    for (const auto& [key, value] : answer.items()) {
      const bool bytes = key.ends_with("_bytes") && value.is_number_unsigned();
      table.Add({key, bytes               ? FormatByteSize(value.get<uint64_t>())
                      : value.is_string() ? value.get<std::string>()
                      : key == "labels"   ? LabelsOf(answer)
                                          : value.dump()});
    }
    std::cout << table.ToString();
  });
}

int RunNodesForget(const Common& common, const ManagerArgs& manager, const std::string& name) {
  return Ask("nodes forget " + name, manager, {.method = "DELETE", .target = PathOf(name)},
             [&](const json&) {
               if (common.json) {
                 std::cout << Dump({{"forgotten", name}}) << "\n";
               } else if (!common.quiet) {
                 std::cout << "forgot " << name << "\n";
               }
             });
}

int RunNodesCordon(const Common& common, const ManagerArgs& manager, const CordonArgs& args) {
  json body = {{"drain", args.verb == "drain"}};
  if (!args.reason.empty()) body["reason"] = args.reason;
  const bool on = args.verb != "uncordon";
  return Ask("nodes " + args.verb + " " + args.name, manager,
             {.method = on ? "PUT" : "DELETE",
              .target = PathOf(args.name) + "/cordon",
              .body = on ? Dump(body) : ""},
             [&](const json&) {
               if (common.json) {
                 std::cout << Dump({{"name", args.name}, {"cordoned", on}}) << "\n";
               } else if (!common.quiet) {
                 std::cout << args.name << " is " << (on ? "cordoned" : "not cordoned") << "\n";
               }
             });
}

}  // namespace hearth::cmd
