#include "manager/api.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/units.h"
#include "manager/json_body.h"
#include "manager/openapi_text.h"
#include "manager/page_query.h"
#include "manager/time_text.h"
#include "net/http.h"

namespace hearth::manager {

namespace {

using nlohmann::json;
using std::chrono::seconds;

constexpr seconds kDefaultJoinLife{24 * 3600};
constexpr size_t kAuditPerPage = 100;

std::string ReadReason(JsonBody& body) {
  std::string reason = "by hand";
  body.Text("reason", reason);
  if (reason.size() > kMaxReasonBytes) body.Reject("reason", "is longer than 512 bytes");
  return reason;
}

json TimeOrNull(const std::optional<WallTime>& time) {
  return time ? json(TimeText(*time)) : json(nullptr);
}

ApiAnswer Ok(const json& body, int status = 200) {
  return {status, body.dump(-1, ' ', false, json::error_handler_t::replace) + "\n"};
}

ApiAnswer NoContent() { return {204, ""}; }

ApiAnswer Plain(std::string text) { return {200, std::move(text), "text/plain; charset=utf-8"}; }

json Show(const AccessToken& token) {
  json scopes = json::array();
  for (const Scope scope : token.scopes) scopes.push_back(ScopeName(scope));
  return {{"id", token.id},
          {"name", token.name},
          {"scopes", std::move(scopes)},
          {"created_at", TimeText(token.created)},
          {"expires_at", TimeOrNull(token.expires)},
          {"last_used_at", TimeOrNull(token.last_used)}};
}

json Show(const JoinToken& token) {
  return {{"id", token.id},
          {"name", token.name},
          {"cluster", token.cluster},
          {"created_at", TimeText(token.created)},
          {"expires_at", TimeText(token.expires)},
          {"uses_left", token.uses_left},
          {"used", token.used}};
}

json Show(const Node& node, size_t blobs) {
  return {{"id", node.id},
          {"name", node.profile.name},
          {"cluster", node.cluster},
          {"connected", node.connected},
          {"banned", node.banned},
          {"ban_reason", node.ban_reason},
          {"cordoned", node.cordoned},
          {"cordon_reason", node.cordon_reason},
          {"version", node.profile.program_version},
          {"labels", node.profile.labels},
          {"data_address", node.profile.data_address},
          {"control_address", node.profile.control_address},
          {"joined_at", TimeText(node.joined)},
          {"last_seen_at", TimeText(node.last_seen)},
          {"blobs", blobs},
          {"disk_free_bytes", node.usage.disk_free_bytes},
          {"disk_total_bytes", node.usage.disk_total_bytes},
          {"store_bytes", node.usage.store_bytes},
          {"origin_bytes", node.usage.origin_bytes},
          {"peer_bytes", node.usage.peer_bytes},
          {"uploaded_bytes", node.usage.uploaded_bytes}};
}

// "expires_in": seconds, or a duration as "30d".
std::optional<seconds> ReadLife(JsonBody& body) {
  std::string text;
  body.Text("expires_in", text);
  if (text.empty()) return std::nullopt;
  const auto life = ParseDuration(text);
  if (!life.ok()) {
    body.Reject("expires_in", life.status().message());
    return std::nullopt;
  }
  return std::chrono::duration_cast<seconds>(*life);
}

}  // namespace

void Api::AddTo(Router& router) {
  AddHealth(router);
  AddNodes(router);
  AddCordon(router);
  AddTokens(router);
  AddJoinTokens(router);
}

void Api::AddHealth(Router& router) {
  router.Add("GET", "/livez", Scope::kPublic, [](const ApiCall&) { return Plain("ok\n"); });
  // As Harbor asks.
  router.Add("GET", "/healthy", Scope::kPublic, [](const ApiCall&) { return Plain("OK"); });
  router.Add("GET", "/readyz", Scope::kPublic, [this](const ApiCall&) -> Result<ApiAnswer> {
    TRY_STATUS(options_.ready());
    return Ok({{"ready", true}});
  });
  router.Add("GET", "/openapi.yaml", Scope::kPublic, [](const ApiCall&) {
    return ApiAnswer{200, kOpenApiText, "application/yaml; charset=utf-8"};
  });
  router.Add("GET", "/metrics", Scope::kPublic, [this](const ApiCall&) { return Metrics(); });
}

Result<ApiAnswer> Api::Metrics() {
  auto readings = ProcessReadings();
  for (auto& reading : options_.hub.Readings()) readings.push_back(std::move(reading));
  for (auto& reading : options_.orders.Readings()) readings.push_back(std::move(reading));
  size_t banned = 0;
  const auto nodes = options_.fleet.List();
  for (const Node& node : nodes) banned += node.banned ? 1 : 0;
  readings.push_back({"hearth_manager_nodes",
                      "Nodes that joined and were not forgotten.",
                      {},
                      static_cast<double>(nodes.size()),
                      false});
  readings.push_back({"hearth_manager_nodes_banned",
                      "Nodes that are banned.",
                      {},
                      static_cast<double>(banned),
                      false});
  return ApiAnswer{200, MetricsText(readings), kMetricsContentType};
}

void Api::AddNodes(Router& router) {
  router.Add("GET", "/api/v1/nodes", Scope::kNodeRead,
             [this](const ApiCall& call) { return ListNodes(call); });
  router.Add("GET", "/api/v1/nodes/{name}", Scope::kNodeRead,
             [this](const ApiCall& call) -> Result<ApiAnswer> {
               const Node node = TRY(options_.fleet.FindByName(call.parameters.at("name")));
               return Ok(Show(node, options_.hub.BlobsOf(node)));
             });
  router.Add("DELETE", "/api/v1/nodes/{name}", Scope::kNode,
             [this](const ApiCall& call) -> Result<ApiAnswer> {
               const Node node = TRY(options_.fleet.FindByName(call.parameters.at("name")));
               TRY_STATUS(options_.hub.Forget(node.id));
               options_.orders.Lost(node.id, NotFound("the node was forgotten"));
               return NoContent();
             });
  router.Add("PUT", "/api/v1/nodes/{name}/ban", Scope::kNode,
             [this](const ApiCall& call) -> Result<ApiAnswer> {
               auto body = TRY(JsonBody::Parse(call.request.body));
               const std::string reason = ReadReason(body);
               TRY_STATUS(body.Finish());
               const Node node = TRY(options_.fleet.FindByName(call.parameters.at("name")));
               TRY_STATUS(options_.hub.SetBan(node.id, true, reason));
               options_.orders.Lost(node.id, PermissionDenied("the node is banned: " + reason));
               return NoContent();
             });
  router.Add("DELETE", "/api/v1/nodes/{name}/ban", Scope::kNode,
             [this](const ApiCall& call) -> Result<ApiAnswer> {
               const Node node = TRY(options_.fleet.FindByName(call.parameters.at("name")));
               TRY_STATUS(options_.hub.SetBan(node.id, false, ""));
               options_.orders.Returned(node.id);
               return NoContent();
             });
}

void Api::AddCordon(Router& router) {
  router.Add("PUT", "/api/v1/nodes/{name}/cordon", Scope::kNode,
             [this](const ApiCall& call) -> Result<ApiAnswer> {
               auto body = TRY(JsonBody::Parse(call.request.body));
               bool drain = false;
               const std::string reason = ReadReason(body);
               body.Flag("drain", drain);
               TRY_STATUS(body.Finish());
               const Node node = TRY(options_.fleet.FindByName(call.parameters.at("name")));
               TRY_STATUS(options_.orders.Cordon(node.id, reason, drain));
               return NoContent();
             });
  router.Add("DELETE", "/api/v1/nodes/{name}/cordon", Scope::kNode,
             [this](const ApiCall& call) -> Result<ApiAnswer> {
               const Node node = TRY(options_.fleet.FindByName(call.parameters.at("name")));
               TRY_STATUS(options_.fleet.SetCordon(node.id, false, ""));
               options_.orders.Returned(node.id);
               return NoContent();
             });
}

Result<ApiAnswer> Api::ListNodes(const ApiCall& call) {
  const std::string cluster = net::QueryValue(call.request.query, "cluster");
  json nodes = json::array();
  for (const Node& node : options_.fleet.List()) {
    if (!cluster.empty() && node.cluster != cluster) continue;
    nodes.push_back(Show(node, options_.hub.BlobsOf(node)));
  }
  return Ok({{"nodes", std::move(nodes)}});
}

void Api::AddTokens(Router& router) {
  router.Add("POST", "/api/v1/backup", Scope::kAdmin, [this](const ApiCall&) -> Result<ApiAnswer> {
    const BackupFile made = TRY(options_.backup());
    return Ok({{"file", made.file.native()},
               {"records", made.summary.records},
               {"size_bytes", made.summary.size_bytes},
               {"sha256", made.summary.sum.hex()}});
  });
  router.Add("GET", "/api/v1/audit", Scope::kAdminRead,
             [this](const ApiCall& call) { return ListAudit(call); });
  router.Add("GET", "/api/v1/tokens", Scope::kAdminRead, [this](const ApiCall&) {
    json tokens = json::array();
    for (const AccessToken& token : options_.tokens.List()) tokens.push_back(Show(token));
    return Ok({{"tokens", std::move(tokens)}});
  });
  router.Add("POST", "/api/v1/tokens", Scope::kAdmin,
             [this](const ApiCall& call) { return CreateToken(call); });
  router.Add("DELETE", "/api/v1/tokens/{id}", Scope::kAdmin,
             [this](const ApiCall& call) -> Result<ApiAnswer> {
               TRY_STATUS(options_.tokens.Revoke(call.parameters.at("id")));
               return NoContent();
             });
}

Result<ApiAnswer> Api::ListAudit(const ApiCall& call) {
  const PageQuery query = TRY(PageQuery::Of(call, kAuditPerPage));
  const auto page = TRY(options_.audit.List(query.first(), query.per_page));
  json entries = json::array();
  for (const AuditEntry& entry : page.entries) {
    entries.push_back({{"id", entry.id},
                       {"at", TimeText(entry.at)},
                       {"method", entry.method},
                       {"path", entry.path},
                       {"token_id", entry.token_id},
                       {"token_name", entry.token_name},
                       {"from", entry.from},
                       {"outcome", entry.outcome}});
  }
  return Ok({{"total", page.total}, {"entries", std::move(entries)}});
}

Result<ApiAnswer> Api::CreateToken(const ApiCall& call) {
  auto body = TRY(JsonBody::Parse(call.request.body));
  Tokens::NewAccess what;
  body.Text("name", what.name);
  std::vector<std::string> scopes;
  body.Texts("scopes", scopes);
  for (const std::string& name : scopes) {
    const auto scope = ParseScope(name);
    if (!scope.ok()) {
      body.Reject("scopes", scope.status().message());
    } else if (std::ranges::find(what.scopes, *scope) == what.scopes.end()) {
      what.scopes.push_back(*scope);
    }
  }
  what.life = ReadLife(body);
  TRY_STATUS(body.Finish());
  const auto made = TRY(options_.tokens.Create(what));
  json shown = Show(made.token);
  shown["token"] = made.text.Reveal();  // here and never again
  return Ok(shown, 201);
}

void Api::AddJoinTokens(Router& router) {
  router.Add("GET", "/api/v1/join-tokens", Scope::kNodeRead, [this](const ApiCall&) {
    json tokens = json::array();
    for (const JoinToken& token : options_.tokens.ListJoin()) tokens.push_back(Show(token));
    return Ok({{"tokens", std::move(tokens)}});
  });
  router.Add("POST", "/api/v1/join-tokens", Scope::kNode,
             [this](const ApiCall& call) { return CreateJoinToken(call); });
  router.Add("DELETE", "/api/v1/join-tokens/{id}", Scope::kNode,
             [this](const ApiCall& call) -> Result<ApiAnswer> {
               TRY_STATUS(options_.tokens.RevokeJoin(call.parameters.at("id")));
               return NoContent();
             });
}

Result<ApiAnswer> Api::CreateJoinToken(const ApiCall& call) {
  auto body = TRY(JsonBody::Parse(call.request.body));
  Tokens::NewJoin what{.name = "join", .cluster = "default", .life = kDefaultJoinLife, .uses = 1};
  body.Text("name", what.name);
  body.Text("cluster", what.cluster);
  what.life = ReadLife(body).value_or(what.life);
  std::optional<uint64_t> uses;
  body.Integer("uses", uses);
  if (uses) what.uses = static_cast<uint32_t>(std::min<uint64_t>(*uses, UINT32_MAX));
  if (!net::Identity::Parse("hearth://" + what.cluster + "/node/x").ok()) {
    body.Reject("cluster", "must be 1 to 64 letters, digits, '.', '-' and '_'");
  }
  TRY_STATUS(body.Finish());
  const auto made = TRY(options_.tokens.CreateJoin(what));
  json shown = Show(made.token);
  shown["token"] = "hjt_" + made.text.Reveal() + "." + options_.ca.authority().Fingerprint().hex();
  return Ok(shown, 201);
}

}  // namespace hearth::manager
