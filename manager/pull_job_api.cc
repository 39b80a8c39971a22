#include "manager/pull_job_api.h"

#include <nlohmann/json.hpp>

#include "manager/json_body.h"
#include "manager/kube_documents.h"
#include "manager/kube_name.h"
#include "manager/page_query.h"
#include "manager/pull_job_json.h"
#include "net/http.h"

namespace hearth::manager {

namespace {

using nlohmann::json;

constexpr size_t kDefaultPerPage = 10;

// {"items": […]} of texts that are JSON.
std::string ListOf(const std::vector<std::string>& items) {
  std::string out;
  for (const std::string& item : items) out += (out.empty() ? "" : ",") + item;
  return "{\"items\":[" + out + "]}\n";
}

// A docker config is one JSON object that says no kind.
bool IsDocument(const std::string& text) {
  if (auto object = JsonBody::Parse(text); object.ok()) return object->Says("kind");
  const size_t begin = text.find_first_not_of(" \t\r\n");
  return begin == std::string::npos || text[begin] != '{';
}

std::string NameOf(const ApiCall& call) {
  return call.parameters.at("namespace") + "/" + call.parameters.at("name");
}

}  // namespace

void PullJobApi::AddTo(Router& router) {
  AddJobs(router);
  AddSecrets(router);
}

void PullJobApi::AddJobs(Router& router) {
  router.Add("POST", "/api/v1/pull-jobs", Scope::kJob,
             [this](const ApiCall& call) { return Create(call); });
  router.Add("GET", "/api/v1/pull-jobs", Scope::kJobRead,
             [this](const ApiCall& call) { return List(call); });
  router.Add("GET", "/api/v1/pull-jobs/{name}", Scope::kJobRead,
             [this](const ApiCall& call) { return Show(call.parameters.at("name")); });
  router.Add("POST", "/api/v1/pull-jobs/{name}/cancel", Scope::kJob,
             [this](const ApiCall& call) -> Result<ApiAnswer> {
               const std::string& name = call.parameters.at("name");
               TRY_STATUS(jobs_.Cancel(name));
               return Show(name);
             });
  router.Add("DELETE", "/api/v1/pull-jobs/{name}", Scope::kJob,
             [this](const ApiCall& call) -> Result<ApiAnswer> {
               TRY_STATUS(jobs_.Remove(call.parameters.at("name")));
               return ApiAnswer{204, ""};
             });
}

void PullJobApi::AddSecrets(Router& router) {
  router.Add("PUT", "/api/v1/secrets/{namespace}/{name}", Scope::kJob,
             [this](const ApiCall& call) { return PutSecret(call); });
  router.Add("DELETE", "/api/v1/secrets/{namespace}/{name}", Scope::kJob,
             [this](const ApiCall& call) -> Result<ApiAnswer> {
               TRY_STATUS(secrets_.Remove(NameOf(call)));
               return ApiAnswer{204, ""};
             });
  router.Add("GET", "/api/v1/secrets", Scope::kJobRead,
             [this](const ApiCall&) -> Result<ApiAnswer> {
               return ApiAnswer{200, json{{"secrets", TRY(secrets_.Names())}}.dump() + "\n"};
             });
}

Result<ApiAnswer> PullJobApi::Create(const ApiCall& call) {
  const std::string dry_run = net::QueryValue(call.request.query, "dry_run");
  if (!dry_run.empty() && dry_run != "true" && dry_run != "false") {
    return InvalidArgument("dry_run: must be true or false");
  }
  const auto documents = TRY(KubeDocuments::Parse(call.request.body));
  std::vector<std::string> items;
  for (const Job& job : TRY(jobs_.Create(documents, dry_run == "true"))) {
    items.push_back(PullJobJson(job));
  }
  return ApiAnswer{200, ListOf(items)};
}

Result<ApiAnswer> PullJobApi::List(const ApiCall& call) const {
  const PageQuery query = TRY(PageQuery::Of(call, kDefaultPerPage));
  const auto page = TRY(jobs_.List(query.page, query.per_page));
  std::vector<std::string> items;
  for (const auto& [job, counts] : page.heads) items.push_back(PullJobHeadJson(job, counts));
  ApiAnswer answer{200, ListOf(items)};
  query.AddHeaders(call, page.total, answer);
  return answer;
}

Result<ApiAnswer> PullJobApi::Show(const std::string& name) const {
  ApiAnswer answer;
  TRY_STATUS(jobs_.Read(name, [&](const Job& job) { answer.body = PullJobJson(job); }));
  return answer;
}

// The body is a docker config in either form, or a Secret document.
Result<ApiAnswer> PullJobApi::PutSecret(const ApiCall& call) {
  const std::string name = NameOf(call);
  if (!IsKubePath(name)) {
    return InvalidArgument("namespace and name must be of lower case letters, digits, - and .");
  }
  if (IsDocument(call.request.body)) {
    const auto documents = TRY(KubeDocuments::Parse(call.request.body));
    if (documents.secrets.size() != 1 || !documents.jobs.empty()) {
      return InvalidArgument("kind: must be one Secret");
    }
    TRY_STATUS(secrets_.Put({name, documents.secrets.front().docker_config}));
  } else {
    TRY_STATUS(secrets_.Put(TRY(PullSecret::FromDockerConfig(name, call.request.body))));
  }
  return ApiAnswer{200, json{{"name", name}}.dump() + "\n"};
}

}  // namespace hearth::manager
