#include "oci/registry_call.h"

#include <algorithm>
#include <charconv>
#include <condition_variable>
#include <mutex>
#include <nlohmann/json.hpp>
#include <utility>

#include "net/http_head.h"
#include "oci/reference.h"

namespace hearth::oci {

namespace {

using std::chrono::milliseconds;

constexpr int kEndpointAttempts = 2;  // of an endpoint; the registry itself has max_attempts
constexpr size_t kMaxSaidBytes = 200;

bool IsRetryable(const Outcome& outcome) {
  switch (outcome.http_status) {
    case 0:
    case 200:
    case 206:
      return outcome.status.code() == StatusCode::kUnavailable ||
             outcome.status.code() == StatusCode::kDeadlineExceeded;
    case 408:
    case 429:
      return true;
    case 501:
      return false;
    default:
      return outcome.http_status >= 500;
  }
}

std::string Printable(std::string text) {
  text.resize(std::min(text.size(), kMaxSaidBytes));
  std::replace_if(
      text.begin(), text.end(), [](char c) { return c < ' ' || c > '~'; }, '?');
  return text;
}

// "https://cdn.example.com/x?sig=…" → "cdn.example.com"; the rest, and user and password, may be
// secrets.
std::string HostOf(std::string_view url) {
  if (const size_t scheme = url.find("://"); scheme != std::string_view::npos) {
    url.remove_prefix(scheme + 3);
  }
  url = url.substr(0, url.find_first_of("/?#"));
  return Printable(std::string(url.substr(url.rfind('@') + 1)));
}

// The first error of a registry's error document; "" for any other body.
std::string RegistrySays(std::string_view body) {
  const auto document = nlohmann::json::parse(body, nullptr, false);
  if (!document.is_object()) return "";
  const auto errors = document.find("errors");
  if (errors == document.end() || !errors->is_array() || errors->empty()) return "";
  std::string said;
  for (const char* name : {"code", "message"}) {
    const auto& error = errors->front();
    if (!error.is_object()) continue;
    const auto field = error.find(name);
    if (field == error.end() || !field->is_string()) continue;
    said += (said.empty() ? "" : ": ") + field->get<std::string>();
  }
  return Printable(said);
}

std::string Advice(int http_status, const std::string& domain) {
  const std::string table = "[registry.\"" + domain + "\"]";
  switch (http_status) {
    case 401:
      return "set docker_config of " + table + " to a file with a credential that may pull";
    case 403:
      return "ask for pull rights, or set docker_config of " + table;
    case 404:
      return "check name and tag; some registries say 404 where a credential is missing";
    case 429:
      return "its rate limit is used up: wait, or set docker_config of " + table;
    default:
      return http_status >= 500 ? "the registry is in trouble: try again later"
                                : "the registry did not understand the request";
  }
}

}  // namespace

std::optional<milliseconds> ParseRetryAfter(std::string_view value, WallTime now) {
  uint32_t count = 0;
  const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), count);
  if (error == std::errc{} && end == value.data() + value.size()) {
    return milliseconds(std::chrono::seconds(count));
  }
  const auto date = net::ParseHttpDate(value);
  if (!date) return std::nullopt;
  // In seconds: a far date does not fit into nanoseconds.
  const int64_t now_seconds =
      std::chrono::floor<std::chrono::seconds>(now).time_since_epoch().count();
  return milliseconds(std::max<int64_t>(0, (*date - now_seconds) * 1000));
}

std::string EndpointHost(std::string_view endpoint) {
  const size_t scheme = endpoint.find("://");
  if (scheme == std::string_view::npos) return "";
  endpoint.remove_prefix(scheme + 3);
  return std::string(endpoint.substr(0, endpoint.find('/')));
}

RegistryCall::RegistryCall(Registry& registry, const Access& access, Options options,
                           std::stop_token stop)
    : registry_(registry), access_(access), options_(std::move(options)), stop_(std::move(stop)) {}

std::string RegistryCall::What() const {
  return "registry " + access_.registry + ": " + options_.method + " " + access_.repository + " " +
         options_.path;
}

Status RegistryCall::HttpError(int http_status, std::string_view body) const {
  const std::string said = RegistrySays(body);
  return net::HttpStatusError(http_status, "HTTP " + std::to_string(http_status) +
                                               (said.empty() ? "" : " " + said) + " (" +
                                               Advice(http_status, access_.registry) + ")");
}

Outcome RegistryCall::Failure(const Route& route, const net::HttpResponse& answer) const {
  Outcome outcome;
  const bool elsewhere =
      !answer.effective_url.empty() && !answer.effective_url.starts_with(route.base_url + "/");
  if (elsewhere && (answer.status == 400 || answer.status == 401 || answer.status == 403)) {
    // Most often a signed URL that expired; the next attempt gets another one.
    outcome.status = Unavailable("redirected to " + HostOf(answer.effective_url) +
                                 ", which answered HTTP " + std::to_string(answer.status));
    return outcome;
  }
  outcome.http_status = answer.status;
  outcome.headers = answer.headers;
  outcome.status = HttpError(answer.status, answer.body);
  return outcome;
}

Result<Route> RegistryCall::OriginRoute(const RegistryHost& host) const {
  const bool plain =
      host.plain_http.value_or(access_.plain_http.value_or(IsLoopbackHost(access_.registry)));
  // The node's credential goes in the clear only where the node's own settings say so.
  const bool clear_for_caller = !host.plain_http && access_.plain_http.value_or(false);
  Route route;
  route.auth.host = RegistryApiHost(access_.registry);
  route.auth.scope = "repository:" + access_.repository + ":pull";
  route.auth.credential =
      access_.credential.empty() && !clear_for_caller ? host.credential : access_.credential;
  route.auth.ca_file = host.ca_file;
  route.auth.plain_http = plain;
  route.shared = host.shared;
  route.base_url = (plain ? "http://" : "https://") + route.auth.host;
  return route;
}

Result<Route> RegistryCall::EndpointRoute(const std::string& endpoint) const {
  Route route;
  route.is_origin = false;
  route.base_url = endpoint;
  while (route.base_url.ends_with('/')) route.base_url.pop_back();
  const std::string host = EndpointHost(endpoint);
  const bool plain = endpoint.starts_with("http://");
  if ((!plain && !endpoint.starts_with("https://")) || !IsRegistryDomain(host)) {
    return InvalidArgument("endpoint \"" + endpoint + "\" of [registry.\"" + access_.registry +
                           "\"]: expected http(s)://HOST[:PORT][/PATH]");
  }
  const RegistryHost settings = TRY(registry_.HostFor(host));
  route.query = "?ns=" + net::PercentEncode(NormalizeDomain(access_.registry));
  route.auth.host = host;
  route.auth.scope = "repository:" + access_.repository + ":pull";
  route.auth.credential = settings.credential;
  route.auth.ca_file = settings.ca_file;
  route.auth.plain_http = plain;
  route.shared = settings.shared;
  return route;
}

Result<std::vector<Route>> RegistryCall::Routes() const {
  if (!IsRegistryDomain(access_.registry)) {
    return InvalidArgument("\"" + Printable(access_.registry) +
                           "\" is no registry host (expected HOST[:PORT])");
  }
  if (!IsRepositoryPath(access_.repository)) {
    return InvalidArgument("\"" + Printable(access_.repository) + "\" is no repository name");
  }
  const RegistryHost host = TRY(registry_.HostFor(access_.registry));
  std::vector<Route> routes;
  if (access_.authorization.Reveal().empty() || options_.kind == Kind::kBlob) {
    for (const std::string& endpoint : host.endpoints) {
      routes.push_back(TRY(EndpointRoute(endpoint)));
    }
  }
  routes.push_back(TRY(OriginRoute(host)));
  // One that lately gave no answer at all is kept for when nobody else has the thing.
  std::stable_partition(routes.begin(), routes.end(), [this](const Route& route) {
    return route.is_origin || registry_.health_.IsWell(route.base_url);
  });
  return routes;
}

Status RegistryCall::Run(const Exchange& exchange) {
  const std::vector<Route> routes = TRY(Routes());
  Status status;
  Status verdict;  // the registry's own, where it was not asked last
  for (const Route& route : routes) {
    bool final = false;
    status = RunOn(route, exchange, &final);
    if (status.ok() || final) return status.Annotate(What());
    if (route.is_origin) {
      verdict = status;
    } else {
      silent_ += status.code() == StatusCode::kDeadlineExceeded ? 1 : 0;
      LOG_WARNING(
          "registry endpoint failed",
          {{"endpoint", route.base_url}, {"registry", access_.registry}, {"error", status}});
    }
  }
  return verdict.Annotate(What());
}

bool RegistryCall::AsCaller(const Route& route) const {
  if (!access_.authorization.Reveal().empty()) return route.is_origin;
  return options_.kind == Kind::kForward && !route.shared;
}

int RegistryCall::MaxAttempts(const Route& route) const {
  if (options_.kind == Kind::kForward) return 1;
  return route.is_origin ? registry_.options_.max_attempts : kEndpointAttempts;
}

// Each silent endpoint halves what the next one gets: however many there are, they cost the call
// less than two.
milliseconds RegistryCall::Patience(const Route& route) const {
  constexpr int kMaxHalves = 16;
  const milliseconds whole = registry_.options_.stall_timeout;
  return route.is_origin ? whole
                         : std::max(whole / (1 << std::min(silent_, kMaxHalves)), milliseconds(1));
}

Status RegistryCall::RunOn(const Route& route, const Exchange& exchange, bool* final) {
  const int max_attempts = MaxAttempts(route);
  Secret<std::string> authorization = KnownAuthorization(route);
  bool answered = false;  // the header is a fresh answer to a challenge
  // How long no byte may come: one stall uses it up, whatever attempts are left. A body that fell
  // silent costs half, so that another connection can go on where it ended.
  const milliseconds whole_patience = Patience(route);
  milliseconds patience = whole_patience;
  for (int attempt = 1;;) {
    if (stop_.stop_requested()) {
      *final = true;
      return Cancelled("the request was cancelled");
    }
    Outcome outcome = exchange(route, RequestFor(route, authorization, patience));
    *final = outcome.final || outcome.status.code() == StatusCode::kCancelled;
    if (!route.is_origin && !*final) {
      registry_.health_.Note(route.base_url, outcome.http_status != 0 || outcome.status.ok());
    }
    if (outcome.status.ok() || *final) return outcome.status;
    if (outcome.progress) {
      attempt = 1;
      patience = whole_patience;
    }
    if (outcome.http_status == 401 && !AsCaller(route) && !answered) {
      registry_.authorizer_.Forget(route.auth);
      auto answer = registry_.authorizer_.Answer(
          route.auth, ParseChallenges(outcome.headers.GetAll("WWW-Authenticate")), stop_);
      if (answer.ok()) {
        authorization = *std::move(answer);
        answered = true;
        continue;
      }
      // A token service in trouble is worth the same patience as the registry.
      outcome = Outcome{answer.status(), 0, {}, false, false};
    } else if (outcome.http_status != 401) {
      answered = answered && !outcome.progress;
    }
    if (!IsRetryable(outcome) || attempt >= max_attempts) return outcome.status;
    if (outcome.status.code() == StatusCode::kDeadlineExceeded) {
      if (!outcome.fell_silent) return outcome.status;
      patience /= 2;
    }
    if (!Wait(Backoff(attempt, outcome))) continue;
    ++attempt;
    if (!answered) authorization = KnownAuthorization(route);
  }
}

Secret<std::string> RegistryCall::KnownAuthorization(const Route& route) {
  if (AsCaller(route)) return access_.authorization;
  return registry_.authorizer_.Cached(route.auth);
}

net::HttpRequest RegistryCall::RequestFor(const Route& route,
                                          const Secret<std::string>& authorization,
                                          milliseconds patience) const {
  net::HttpRequest request;
  request.method = options_.method;
  request.url = route.base_url + "/v2/" + access_.repository + "/" + options_.path + route.query;
  request.ca_file = route.auth.ca_file;
  request.max_redirects = registry_.options_.max_redirects;
  request.stall_timeout = patience;
  request.connect_timeout = std::min(registry_.options_.connect_timeout, patience);
  request.total_timeout = registry_.options_.document_timeout;
  // A blob's bytes are counted, resumed and hashed as they come: nothing may be encoded there.
  request.decode = options_.kind != Kind::kBlob;
  if (!request.decode) request.headers.Set("Accept-Encoding", "identity");
  if (!authorization.Reveal().empty()) {
    request.headers.Set("Authorization", authorization.Reveal());
  }
  return request;
}

milliseconds RegistryCall::Backoff(int attempt, const Outcome& outcome) const {
  const auto& options = registry_.options_;
  milliseconds backoff = options.first_backoff;
  for (int i = 1; i < attempt && backoff < options.max_backoff; ++i) backoff *= 2;
  backoff = std::min(backoff, options.max_backoff);
  const auto asked =
      ParseRetryAfter(outcome.headers.Get("Retry-After"), registry_.clock_.WallNow());
  if (asked) backoff = std::max(backoff, std::min(*asked, options.max_retry_after));
  return backoff;
}

bool RegistryCall::Wait(milliseconds time) const {
  std::mutex mutex;
  std::condition_variable_any woken;
  std::unique_lock lock(mutex);
  woken.wait_for(lock, stop_, time, [] { return false; });
  return !stop_.stop_requested();
}

}  // namespace hearth::oci
