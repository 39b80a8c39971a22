// RegistryCall: one request of a Registry, carried through endpoints, challenges and retries.
//
// Belongs to registry.cc and blob_fetch.cc. Lives on one thread's stack for one call.
#pragma once

#include <chrono>
#include <functional>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/log.h"
#include "base/status.h"
#include "net/http_client.h"
#include "oci/auth.h"
#include "oci/registry.h"

namespace hearth::oci {

// Where a request goes.
struct Route {
  std::string base_url;  // "https://registry-1.docker.io", without a slash at its end
  std::string query;     // "?ns=docker.io" for an endpoint, else ""
  AuthTarget auth;
  bool is_origin = true;
};

// What one HTTP exchange came to.
struct Outcome {
  Status status;        // OK ends the call
  int http_status = 0;  // 0 = no answer
  net::HttpHeaders headers;
  bool progress = false;  // it brought something that need not be fetched again
  bool final = false;     // no other attempt or endpoint can help
};

class RegistryCall {
 public:
  // One exchange with `request`, which has URL, Authorization, CA and timeouts set.
  using Exchange = std::function<Outcome(const Route& route, net::HttpRequest request)>;

  // `path` follows "/v2/REPOSITORY/": "manifests/latest".
  RegistryCall(Registry& registry, const Access& access, std::string method, std::string path,
               std::stop_token stop);

  // Exchanges until one succeeds or there is no hope. The status says what was asked of whom.
  Status Run(const Exchange& exchange);

  // "registry docker.io: GET library/nginx manifests/latest"
  std::string What() const;
  // What an answer without success came to. `effective_url` is where redirects led to: what storage
  // behind the registry refuses is no verdict (nor challenge) of the registry.
  Outcome Failure(const Route& route, const net::HttpResponse& answer) const;

 private:
  // The error of an HTTP status: code, what the registry says in `body`, what to do.
  Status HttpError(int http_status, std::string_view body) const;
  Result<std::vector<Route>> Routes() const;
  Result<Route> OriginRoute(const RegistryHost& host) const;
  Result<Route> EndpointRoute(const std::string& endpoint) const;
  Status RunOn(const Route& route, int max_attempts, const Exchange& exchange, bool* final);
  // The Authorization header for `route` that is known already; empty for none.
  Secret<std::string> KnownAuthorization(const Route& route);
  net::HttpRequest RequestFor(const Route& route, const Secret<std::string>& authorization) const;
  // False when the call was stopped meanwhile.
  bool Wait(std::chrono::milliseconds time) const;
  std::chrono::milliseconds Backoff(int attempt, const Outcome& outcome) const;

  Registry& registry_;
  const Access& access_;  // of the caller, who waits
  const std::string method_;
  const std::string path_;
  const std::stop_token stop_;
};

// "120" or an HTTP date; nullopt for anything else.
std::optional<std::chrono::milliseconds> ParseRetryAfter(std::string_view value, WallTime now);

}  // namespace hearth::oci
