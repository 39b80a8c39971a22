// hearth tokens: who may use the manager's API, and which machines may join.
#include <iostream>
#include <nlohmann/json.hpp>

#include "cmd/api_client.h"
#include "cmd/interrupt.h"
#include "cmd/manager_commands.h"
#include "cmd/table.h"
#include "net/http.h"

namespace hearth::cmd {

namespace {

using nlohmann::json;

std::string Path(bool join) { return join ? "/api/v1/join-tokens" : "/api/v1/tokens"; }

std::string Text(const json& entry, const char* key) {
  const auto found = entry.find(key);
  return found != entry.end() && found->is_string() ? found->get<std::string>() : "-";
}

std::string Dump(const json& answer) {
  return answer.dump(2, ' ', false, json::error_handler_t::replace);
}

std::string ScopesOf(const json& token) {
  std::string out;
  for (const json& scope : token.value("scopes", json::array())) {
    if (scope.is_string()) out += (out.empty() ? "" : ",") + scope.get<std::string>();
  }
  return out;
}

int Ask(const std::string& what, const ManagerArgs& manager, const std::string& method,
        const std::string& target, const std::string& body,
        const std::function<void(const json&)>& show) {
  const Interrupt interrupt;
  const auto client = ApiClient::FromEnvironment(manager);
  if (!client.ok()) return Fail(what, client.status());
  const auto answer = (*client)->Call(method, target, body, interrupt.token());
  if (interrupt.happened()) return kInterrupted;
  if (!answer.ok()) return Fail(what, answer.status());
  show(answer->empty() ? json::object() : json::parse(*answer));
  return kDone;
}

json RequestOf(const TokenArgs& args) {
  json request = json::object();
  if (!args.name.empty()) request["name"] = args.name;
  if (!args.expires_in.empty()) request["expires_in"] = args.expires_in;
  if (!args.join) {
    request["scopes"] = args.scopes;
    return request;
  }
  request["uses"] = args.uses;
  if (!args.cluster.empty()) request["cluster"] = args.cluster;
  return request;
}

}  // namespace

int RunTokensCreate(const Common& common, const ManagerArgs& manager, const TokenArgs& args) {
  if (args.join && !args.scopes.empty()) {
    return Fail("tokens create", InvalidArgument("a join token has no scopes"));
  }
  return Ask("tokens create", manager, "POST", Path(args.join), RequestOf(args).dump(),
             [&](const json& made) {
               // The text alone, for HEARTH_TOKEN=$(…) and > FILE.
               std::cout << (common.json ? Dump(made) : Text(made, "token")) << "\n";
               if (common.quiet || common.json) return;
               std::cerr << "shown only now; token " << Text(made, "id") << ", expires "
                         << (made["expires_at"].is_string() ? Text(made, "expires_at") : "never")
                         << "\n";
             });
}

int RunTokensList(const Common& common, const ManagerArgs& manager, bool join) {
  return Ask("tokens ls", manager, "GET", Path(join), "", [&](const json& answer) {
    if (common.json) {
      std::cout << Dump(answer) << "\n";
      return;
    }
    if (common.quiet) return;
    Table table(join ? std::vector<std::string>{"ID", "NAME", "CLUSTER", "USED", "LEFT", "EXPIRES"}
                     : std::vector<std::string>{"ID", "NAME", "SCOPES", "EXPIRES", "LAST USED"});
    for (const json& token : answer.at("tokens")) {
      if (join) {
        table.Add({Text(token, "id"), Text(token, "name"), Text(token, "cluster"),
                   token["used"].dump(), token["uses_left"].dump(), Text(token, "expires_at")});
      } else {
        table.Add({Text(token, "id"), Text(token, "name"), ScopesOf(token),
                   Text(token, "expires_at"), Text(token, "last_used_at")});
      }
    }
    std::cout << (table.empty() ? "no tokens\n" : table.ToString());
  });
}

int RunTokensRevoke(const Common& common, const ManagerArgs& manager, bool join,
                    const std::string& id) {
  return Ask("tokens revoke " + id, manager, "DELETE", Path(join) + "/" + net::PercentEncode(id),
             "", [&](const json&) {
               if (common.json) {
                 std::cout << Dump({{"revoked", id}}) << "\n";
               } else if (!common.quiet) {
                 std::cout << "revoked " << id << "\n";
               }
             });
}

}  // namespace hearth::cmd
