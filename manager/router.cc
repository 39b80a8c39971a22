#include "manager/router.h"

#include <nlohmann/json.hpp>

#include "base/log.h"
#include "net/http.h"

namespace hearth::manager {

namespace {

using nlohmann::json;

constexpr std::string_view kBearer = "Bearer ";
constexpr std::string_view kTokenPrefix = "hpat_";

std::vector<std::string> Split(std::string_view path) {
  std::vector<std::string> parts;
  size_t start = 1;
  while (start <= path.size()) {
    const size_t end = std::min(path.find('/', start), path.size());
    parts.emplace_back(path.substr(start, end - start));
    start = end + 1;
  }
  return parts;
}

bool IsParameter(const std::string& part) { return part.starts_with('{'); }

bool Matches(const std::vector<std::string>& pattern, const std::vector<std::string>& path,
             std::map<std::string, std::string>& parameters) {
  if (pattern.size() != path.size()) return false;
  parameters.clear();
  for (size_t i = 0; i < pattern.size(); ++i) {
    if (!IsParameter(pattern[i])) {
      if (pattern[i] != path[i]) return false;
      continue;
    }
    const auto value = net::PercentDecode(path[i]);
    if (!value.ok() || value->empty()) return false;
    parameters[pattern[i].substr(1, pattern[i].size() - 2)] = *value;
  }
  return true;
}

net::ServerResponse JsonResponse(int status, std::string type, std::string body) {
  net::ServerResponse response;
  response.status = status;
  response.headers.Add("Content-Type", std::move(type));
  response.headers.Add("Cache-Control", "no-store");
  response.headers.Add("X-Content-Type-Options", "nosniff");
  response.body = std::move(body);
  return response;
}

const char* TitleOf(int status) {
  switch (status) {
    case 400:
      return "Bad Request";
    case 401:
      return "Unauthorized";
    case 403:
      return "Forbidden";
    case 404:
      return "Not Found";
    case 405:
      return "Method Not Allowed";
    case 409:
      return "Conflict";
    case 429:
      return "Too Many Requests";
    case 503:
      return "Service Unavailable";
    default:
      return status < 500 ? "Request Failed" : "Internal Error";
  }
}

net::ServerResponse ProblemOf(int status, StatusCode code, const std::string& detail) {
  const json problem = {
      {"type", "about:blank"}, {"title", TitleOf(status)},     {"status", status},
      {"detail", detail},      {"code", StatusCodeName(code)}, {"message", detail}};
  return JsonResponse(status, "application/problem+json",
                      problem.dump(-1, ' ', false, json::error_handler_t::replace) + "\n");
}

net::ServerResponse ResponseOf(Result<ApiAnswer> answer) {
  if (!answer.ok()) return Problem(answer.status());
  auto response =
      JsonResponse(answer->status, std::move(answer->content_type), std::move(answer->body));
  for (const auto& [name, value] : answer->headers.fields()) response.headers.Add(name, value);
  if (answer->stream != nullptr) response.body = std::move(answer->stream);
  return response;
}

}  // namespace

bool IsApiAuthorization(std::string_view value) {
  return value.starts_with(kBearer) && value.substr(kBearer.size()).starts_with(kTokenPrefix);
}

net::ServerResponse Problem(const Status& status) {
  return ProblemOf(net::HttpStatusFor(status.code()), status.code(), status.message());
}

void Router::Add(const std::string& method, const std::string& pattern, Scope scope,
                 Handler handler) {
  CHECK(handler != nullptr);
  Add(method, pattern, scope,
      LaterHandler([handler = std::move(handler)](const ApiCall& call, const Respond& respond) {
        respond(handler(call));
      }));
}

void Router::Add(const std::string& method, const std::string& pattern, Scope scope,
                 LaterHandler handler) {
  CHECK(pattern.starts_with('/') && handler != nullptr);
  for (const Entry& entry : entries_) {
    CHECK(entry.route.method != method || entry.route.pattern != pattern);
  }
  entries_.push_back({{method, pattern, scope}, Split(pattern), std::move(handler)});
}

const Router::Entry* Router::Find(const net::ServerRequest& request,
                                  std::map<std::string, std::string>& parameters,
                                  std::string& allowed) const {
  const std::vector<std::string> path = Split(request.path);
  const std::string method = request.method == "HEAD" ? "GET" : request.method;
  for (const Entry& entry : entries_) {
    if (!Matches(entry.parts, path, parameters)) continue;
    if (entry.route.method == method) return &entry;
    allowed += (allowed.empty() ? "" : ", ") + entry.route.method;
  }
  return nullptr;
}

std::string Router::RouteOf(const net::ServerRequest& request) const {
  std::map<std::string, std::string> parameters;
  std::string allowed;
  const Entry* entry = Find(request, parameters, allowed);
  return entry == nullptr ? "other" : entry->route.pattern;
}

// A valid token always gets in: the throttle slows down guesses, it locks nobody out.
Result<AccessToken> Router::Authorise(const net::ServerRequest& request, Scope needed) const {
  std::string_view token;
  // A job's request may bring a second one, for its origin.
  for (const std::string_view field : request.headers.GetAll("Authorization")) {
    if (field.starts_with(kBearer) && (token.empty() || IsApiAuthorization(field))) {
      token = field.substr(kBearer.size());
    }
  }
  if (token.empty()) {
    return Unauthenticated("a token is needed (Authorization: Bearer hpat_…)");
  }
  auto known = tokens_.Check(token);
  if (!known.ok()) {
    const auto wait = throttle_.Wait(request.remote);
    if (wait > std::chrono::seconds(0)) {
      return ResourceExhausted("too many wrong tokens (wait " + std::to_string(wait.count()) +
                               " s)");
    }
    throttle_.Failed(request.remote);
    LOG_WARNING("refused a token", {{"path", request.path}, {"from", request.remote}});
    return known.status();
  }
  for (const Scope held : known->scopes) {
    if (Grants(held, needed)) return known;
  }
  if (request.method != "GET" && request.method != "HEAD") {
    audit_.Add({.method = request.method,
                .path = request.path,
                .token_id = known->id,
                .token_name = known->name,
                .from = request.remote,
                .outcome = "refused: it lacks the scope " + std::string(ScopeName(needed))});
  }
  return PermissionDenied("this needs the scope " + std::string(ScopeName(needed)) +
                          ", which the token \"" + known->name + "\" does not have");
}

net::ServerResponse Router::Refuse(const net::ServerRequest& request, const Status& why) const {
  auto refusal = Problem(why);
  if (refusal.status == 401) refusal.headers.Add("WWW-Authenticate", "Bearer realm=\"hearth\"");
  if (refusal.status == 429) {
    refusal.headers.Add("Retry-After", std::to_string(throttle_.Wait(request.remote).count()));
  }
  return refusal;
}

void Router::Answer(const net::ServerRequest& request, net::HttpServer::Respond respond) const {
  std::map<std::string, std::string> parameters;
  std::string allowed;
  const Entry* entry = Find(request, parameters, allowed);
  if (entry == nullptr) {
    if (allowed.empty()) {
      return respond(Problem(NotFound("there is no " + request.path.substr(0, 200))));
    }
    auto refusal = ProblemOf(405, StatusCode::kInvalidArgument, "only " + allowed);
    refusal.headers.Add("Allow", allowed);
    return respond(std::move(refusal));
  }
  AccessToken token;
  if (entry->route.scope != Scope::kPublic) {
    auto authorised = Authorise(request, entry->route.scope);
    if (!authorised.ok()) return respond(Refuse(request, authorised.status()));
    token = *std::move(authorised);
  }
  const ApiCall call{request, std::move(parameters), token};
  if (request.method == "GET" || request.method == "HEAD") {
    return entry->handler(call, [respond = std::move(respond)](Result<ApiAnswer> answer) {
      respond(ResponseOf(std::move(answer)));
    });
  }
  entry->handler(call, [respond = std::move(respond), method = request.method, path = request.path,
                        remote = request.remote, token, &audit = audit_](Result<ApiAnswer> answer) {
    // Who changed what, from where.
    audit.Add({.method = method,
               .path = path,
               .token_id = token.id,
               .token_name = token.name,
               .from = remote,
               .outcome = answer.status().ToString()});
    respond(ResponseOf(std::move(answer)));
  });
}

std::vector<Router::Route> Router::Routes() const {
  std::vector<Route> routes;
  for (const Entry& entry : entries_) routes.push_back(entry.route);
  return routes;
}

}  // namespace hearth::manager
