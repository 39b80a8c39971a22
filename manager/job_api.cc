#include "manager/job_api.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>

#include "base/digest.h"
#include "base/units.h"
#include "manager/job_json.h"
#include "manager/json_body.h"
#include "manager/page_query.h"
#include "manager/time_text.h"
#include "net/http.h"

namespace hearth::manager {

namespace {

using nlohmann::json;

constexpr size_t kDefaultPerPage = 10;
constexpr size_t kNodesPerPage = 100;
constexpr size_t kMaxKeyBytes = 255;
constexpr size_t kMaxBioBytes = 1000;

// The Authorization header of a request with two that is not the API's own; "" = there is none.
Result<std::string> SecondAuthorization(const net::ServerRequest& request) {
  const auto all = request.headers.GetAll("Authorization");
  if (all.size() < 2) return std::string();
  if (all.size() > 2) return InvalidArgument("Authorization: there are more than two of them");
  const bool first_is_ours = IsApiAuthorization(all[0]);
  if (first_is_ours == IsApiAuthorization(all[1])) {
    return InvalidArgument("Authorization: one of two must be \"Bearer hpat_…\"");
  }
  return std::string(all[first_is_ours ? 1 : 0]);
}

Result<OrderHub::Origin> OriginOf(const ApiCall& call) {
  const std::string_view key = call.request.headers.Get("Idempotency-Key");
  if (key.size() > kMaxKeyBytes) {
    return InvalidArgument("Idempotency-Key: is longer than 255 bytes");
  }
  OrderHub::Origin origin;
  if (key.empty()) return origin;
  origin.idempotency_key = call.token.id + "/" + std::string(key);
  origin.request_sum = Digest::Of(call.request.body).hex();
  return origin;
}

json ClusterJson(const ClusterInfo& cluster) {
  return {{"id", cluster.id},
          {"created_at", TimeText(cluster.created)},
          {"updated_at", TimeText(cluster.updated)},
          {"name", cluster.name},
          {"bio", cluster.bio}};
}

ApiAnswer AnswerWith(const ClusterInfo& cluster) {
  return {200, ClusterJson(cluster).dump(-1, ' ', false, json::error_handler_t::replace) + "\n"};
}

Result<uint64_t> ClusterIdOf(const ApiCall& call) {
  const auto id = ParseDecimal(call.parameters.at("id"));
  if (!id) return NotFound("there is no such cluster");
  return *id;
}

// What is known of a cluster to Dragonfly, and is not here.
void RefuseClusterSettings(JsonBody& body) {
  for (const char* name : {"config", "client_config", "scopes", "is_default"}) {
    if (body.Says(name)) {
      body.Reject(name, "is not kept here (nodes say in their own settings what they do)");
    }
  }
}

// `bio`: what it is where the body does not say.
std::string ReadBio(JsonBody& body, std::string bio = "") {
  body.Text("bio", bio);
  if (bio.size() > kMaxBioBytes) body.Reject("bio", "is longer than 1000 bytes");
  return bio;
}

}  // namespace

Result<JobId> JobIdOf(const ApiCall& call) {
  const std::string& text = call.parameters.at("id");
  const auto id = ParseDecimal(text);
  if (!id) return NotFound("there is no job \"" + text.substr(0, 64) + "\"");
  return *id;
}

void JobApi::AddTo(Router& router) {
  router.Add("POST", "/oapi/v1/jobs", Scope::kJob,
             [this](const ApiCall& call) { return Create(call); });
  router.Add("GET", "/oapi/v1/jobs", Scope::kJobRead,
             [this](const ApiCall& call) { return List(call); });
  router.Add("GET", "/oapi/v1/jobs/{id}/nodes", Scope::kJobRead,
             [this](const ApiCall& call) { return ShowNodes(call); });
  AddChanges(router);
  AddClusters(router);
}

void JobApi::AddChanges(Router& router) {
  router.Add("PATCH", "/oapi/v1/jobs/{id}", Scope::kJob,
             [this](const ApiCall& call) { return Change(call); });
  router.Add("DELETE", "/oapi/v1/jobs/{id}", Scope::kJob,
             [this](const ApiCall& call) -> Result<ApiAnswer> {
               TRY_STATUS(options_.orders.Remove(TRY(JobIdOf(call))));
               return ApiAnswer{204, ""};
             });
  router.Add("POST", "/oapi/v1/jobs/{id}/cancel", Scope::kJob,
             [this](const ApiCall& call) -> Result<ApiAnswer> {
               const JobId id = TRY(JobIdOf(call));
               TRY_STATUS(options_.orders.Cancel(id));
               return Show(id);
             });
  router.Add("POST", "/oapi/v1/jobs/{id}/retry", Scope::kJob,
             [this](const ApiCall& call) -> Result<ApiAnswer> {
               const JobId id = TRY(JobIdOf(call));
               TRY_STATUS(options_.orders.Retry(id));
               return Show(id);
             });
}

void JobApi::AddClusters(Router& router) {
  router.Add("GET", "/oapi/v1/clusters", Scope::kClusterRead,
             [this](const ApiCall&) -> Result<ApiAnswer> {
               json list = json::array();
               for (const ClusterInfo& cluster : TRY(KnownClusters())) {
                 list.push_back(ClusterJson(cluster));
               }
               return ApiAnswer{200, list.dump() + "\n"};
             });
  router.Add("GET", "/oapi/v1/clusters/{id}", Scope::kClusterRead,
             [this](const ApiCall& call) -> Result<ApiAnswer> {
               TRY_STATUS(KnownClusters().status());
               return AnswerWith(TRY(options_.clusters.Find(TRY(ClusterIdOf(call)))));
             });
  router.Add("POST", "/oapi/v1/clusters", Scope::kCluster,
             [this](const ApiCall& call) -> Result<ApiAnswer> {
               TRY_STATUS(KnownClusters().status());
               auto body = TRY(JsonBody::Parse(call.request.body));
               std::string name;
               body.Text("name", name);
               const std::string bio = ReadBio(body);
               RefuseClusterSettings(body);
               TRY_STATUS(body.Finish());
               return AnswerWith(TRY(options_.clusters.Create(name, bio)));
             });
  router.Add("PATCH", "/oapi/v1/clusters/{id}", Scope::kCluster,
             [this](const ApiCall& call) -> Result<ApiAnswer> {
               TRY_STATUS(KnownClusters().status());
               const ClusterInfo cluster = TRY(options_.clusters.Find(TRY(ClusterIdOf(call))));
               auto body = TRY(JsonBody::Parse(call.request.body));
               std::string name = cluster.name;
               body.Text("name", name);
               if (name != cluster.name) {
                 body.Reject("name", "stays: it is in the certificates of its nodes");
               }
               const std::string bio = ReadBio(body, cluster.bio);
               RefuseClusterSettings(body);
               TRY_STATUS(body.Finish());
               return AnswerWith(TRY(options_.clusters.SetBio(cluster.id, bio)));
             });
  router.Add("DELETE", "/oapi/v1/clusters/{id}", Scope::kCluster,
             [this](const ApiCall& call) -> Result<ApiAnswer> {
               TRY_STATUS(RemoveCluster(TRY(ClusterIdOf(call))));
               return ApiAnswer{204, ""};
             });
}

Status JobApi::RemoveCluster(uint64_t id) {
  const ClusterInfo cluster = TRY(options_.clusters.Find(id));
  size_t nodes = 0;
  for (const Node& node : options_.fleet.List()) nodes += node.cluster == cluster.name ? 1 : 0;
  if (nodes > 0) {
    return FailedPrecondition("cluster " + cluster.name + " has " + std::to_string(nodes) +
                              " nodes (forget them first)");
  }
  return options_.clusters.Remove(id);
}

Result<std::vector<ClusterInfo>> JobApi::KnownClusters() const {
  std::set<std::string> names;
  for (const Node& node : options_.fleet.List()) names.insert(node.cluster);
  for (const std::string& name : names) TRY_STATUS(options_.clusters.Ensure(name).status());
  return options_.clusters.List();
}

Result<ApiAnswer> JobApi::Create(const ApiCall& call) {
  TRY_STATUS(KnownClusters().status());
  // What may be asked for may have changed since: a repeated request gets its job all the same.
  const OrderHub::Origin origin = TRY(OriginOf(call));
  if (const auto known = TRY(options_.orders.FindByKey(origin))) return Show(*known);
  JobRequest::Context context;
  context.origin_authorization = TRY(SecondAuthorization(call.request));
  context.cluster_name = [this](uint64_t id) -> Result<std::string> {
    return TRY(options_.clusters.Find(id)).name;
  };
  context.allowed_hosts = options_.allowed_hosts();
  const JobRequest request = TRY(JobRequest::Parse(call.request.body, context));
  return Show(TRY(options_.orders.Create(request, origin)));
}

Result<ApiAnswer> JobApi::List(const ApiCall& call) {
  const PageQuery query = TRY(PageQuery::Of(call, kDefaultPerPage));
  std::optional<JobState> state;
  if (const auto text = net::QueryValue(call.request.query, "state"); !text.empty()) {
    state = TRY(ParseJobState(text).Annotate("state"));
  }
  const auto found = TRY(options_.orders.List(state, query.page, query.per_page));
  ApiAnswer answer{200, JobListJson(found.heads, options_.clusters.List())};
  query.AddHeaders(call, found.total, answer);
  return answer;
}

Result<ApiAnswer> JobApi::Show(JobId id) const {
  ApiAnswer answer;
  const auto clusters = options_.clusters.List();
  TRY_STATUS(
      options_.orders.Read(id, [&](const Job& job) { answer.body = JobJson(job, clusters); }));
  return answer;
}

Result<ApiAnswer> JobApi::ShowNodes(const ApiCall& call) {
  const PageQuery query = TRY(PageQuery::Of(call, kNodesPerPage));
  NodePage page{.page = query.page, .per_page = query.per_page, .state = {}};
  if (const auto text = net::QueryValue(call.request.query, "state"); !text.empty()) {
    page.state = TRY(ParseTargetState(text).Annotate("state"));
  }
  ApiAnswer answer;
  const auto disk_free = [this](const std::string& node_id) -> std::optional<uint64_t> {
    const auto node = options_.fleet.Find(node_id);
    if (!node.ok() || node->usage.disk_total_bytes == 0) return std::nullopt;
    return node->usage.disk_free_bytes;
  };
  TRY_STATUS(options_.orders.Read(TRY(JobIdOf(call)), [&](const Job& job) {
    answer.body = JobNodesJson(job, page, disk_free);
  }));
  return answer;
}

Result<ApiAnswer> JobApi::Change(const ApiCall& call) {
  const JobId id = TRY(JobIdOf(call));
  auto body = TRY(JsonBody::Parse(call.request.body));
  std::string before;
  TRY_STATUS(options_.orders.Read(id, [&](const Job& job) { before = job.bio; }));
  const std::string bio = ReadBio(body, before);
  if (body.Says("user_id")) body.Reject("user_id", "there are no users here (leave it out)");
  TRY_STATUS(body.Finish());
  if (bio != before) TRY_STATUS(options_.orders.SetBio(id, bio));
  return Show(id);
}

}  // namespace hearth::manager
