// Registry::Forward: a caller's request, as him.
#include <algorithm>
#include <utility>

#include "oci/registry.h"
#include "oci/registry_call.h"

namespace hearth::oci {

bool Registry::ServesAnyone(const std::string& domain) const {
  const auto host = HostFor(domain);
  if (!host.ok()) return false;
  const auto open = [](const RegistryHost& one) { return one.credential.empty() || one.shared; };
  return open(*host) && std::all_of(host->endpoints.begin(), host->endpoints.end(),
                                    [&](const std::string& endpoint) {
                                      const auto there = HostFor(EndpointHost(endpoint));
                                      return there.ok() && open(*there);
                                    });
}

Result<net::HttpResponse> Registry::Forward(const ForwardRequest& request, std::stop_token stop) {
  if (request.method != "GET" && request.method != "HEAD") {
    return InvalidArgument("only GET and HEAD are sent on to a registry");
  }
  RegistryCall call(
      *this, request.access,
      {.kind = RegistryCall::Kind::kForward, .method = request.method, .path = request.path}, stop);
  net::HttpResponse taken;
  std::optional<net::HttpResponse> refusal;  // of the registry itself
  const Status status = call.Run([&](const Route& route, net::HttpRequest onward) {
    for (const char* name : {"Accept", "Range", "If-None-Match"}) {
      for (const std::string_view value : request.headers.GetAll(name)) {
        onward.headers.Add(name, std::string(value));
      }
    }
    auto answer = client_.Fetch(std::move(onward), request.max_body_bytes, stop);
    if (!answer.ok()) return Outcome::NoAnswer(answer.status());
    if (answer->status == 200 || answer->status == 206 || answer->status == 304) {
      taken = *std::move(answer);
      return Outcome{};
    }
    Outcome outcome = call.Failure(route, *answer);
    // Not what storage behind it refuses.
    if (route.is_origin && outcome.http_status != 0) {
      // Only silent endpoints are left to ask, and the caller must hear soon what he has to bring.
      const bool can_answer = answer->status == 401 && route.shared;
      outcome.final = answer->status < 500 && !can_answer;
      refusal = *std::move(answer);
    }
    return outcome;
  });
  if (status.ok()) return taken;
  if (refusal && status.code() != StatusCode::kCancelled) return *std::move(refusal);
  return status;
}

}  // namespace hearth::oci
