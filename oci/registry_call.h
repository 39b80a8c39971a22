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
#include <utility>
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
  bool shared = false;  // the credential may serve whoever sends none of his own
};

// What one HTTP exchange came to.
struct Outcome {
  Status status;        // OK ends the call
  int http_status = 0;  // 0 = no answer
  net::HttpHeaders headers;
  bool progress = false;     // it brought something that need not be fetched again
  bool final = false;        // no other attempt or endpoint can help
  bool fell_silent = false;  // within the body: half of the patience is left

  // The transport's own failure.
  static Outcome NoAnswer(Status status) {
    Outcome outcome;
    outcome.status = std::move(status);
    return outcome;
  }
};

class RegistryCall {
 public:
  // One exchange with `request`, which has URL, Authorization, CA and timeouts set.
  using Exchange = std::function<Outcome(const Route& route, net::HttpRequest request)>;

  enum class Kind : uint8_t {
    kDocument,
    kBlob,     // bytes that their digest judges: endpoints give them to an accepted caller too
    kForward,  // once, as the caller: see Registry::Forward
  };
  struct Options {
    Kind kind = Kind::kDocument;
    std::string method = "GET";
    std::string path;  // follows "/v2/REPOSITORY/": "manifests/latest"
  };
  // `registry` and `access` outlive this.
  RegistryCall(Registry& registry, const Access& access, Options options, std::stop_token stop);

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
  Status RunOn(const Route& route, const Exchange& exchange, bool* final);
  int MaxAttempts(const Route& route) const;
  // How long no byte may come from it.
  std::chrono::milliseconds Patience(const Route& route) const;
  // Whether `route` is asked with the caller's own header, and with nothing else.
  bool AsCaller(const Route& route) const;
  // The Authorization header for `route` that is known already; empty for none.
  Secret<std::string> KnownAuthorization(const Route& route);
  net::HttpRequest RequestFor(const Route& route, const Secret<std::string>& authorization,
                              std::chrono::milliseconds patience) const;
  // False when the call was stopped meanwhile.
  bool Wait(std::chrono::milliseconds time) const;
  std::chrono::milliseconds Backoff(int attempt, const Outcome& outcome) const;

  Registry& registry_;
  const Access& access_;  // of the caller, who waits
  const Options options_;
  const std::stop_token stop_;
  int silent_ = 0;  // endpoints
};

// "https://mirror.example.com/sub" → "mirror.example.com"; "" where there is no scheme.
std::string EndpointHost(std::string_view endpoint);

// "120" or an HTTP date; nullopt for anything else.
std::optional<std::chrono::milliseconds> ParseRetryAfter(std::string_view value, WallTime now);

}  // namespace hearth::oci
