#include "cmd/node_status.h"

#include <nlohmann/json.hpp>
#include <utility>

namespace hearth::cmd {

namespace {

using nlohmann::json;

CounterFamily g_requests("hearth_http_requests_total", "HTTP requests answered.",
                         {"server", "route", "code"});
HistogramFamily g_seconds("hearth_http_request_seconds",
                          "Time from a request to the head of its answer.",
                          {0.001, 0.01, 0.1, 0.5, 1, 5, 10, 30}, {"server", "route"});

net::ServerResponse Text(int status, std::string type, std::string text) {
  net::ServerResponse response;
  response.status = status;
  response.headers.Add("Content-Type", std::move(type));
  response.headers.Add("Cache-Control", "no-store");
  response.body = std::move(text);
  return response;
}

}  // namespace

Probe HttpProbe(net::HttpClient& client, std::string name, const std::string& address,
                const std::string& path) {
  constexpr std::string_view kUnix = "unix:";
  const bool is_unix = address.starts_with(kUnix);
  net::HttpRequest request;
  request.url = "http://" + (is_unix ? "localhost" : address) + path;
  if (is_unix) request.unix_socket = address.substr(kUnix.size());
  request.connect_timeout = kProbeWait;
  request.stall_timeout = kProbeWait;
  // A connection kept from the last probe works on although the socket or the listener is gone.
  request.fresh_connection = true;
  return {.name = std::move(name), .where = address, .ask = [&client, request] {
            return client.Fetch(request, kProbeBytes).status();
          }};
}

void NodeStatus::Handle(const net::ServerRequest& request,
                        const net::HttpServer::Respond& respond) const {
  respond(Answer(request));
}

net::ServerResponse NodeStatus::Answer(const net::ServerRequest& request) const {
  constexpr char kPlain[] = "text/plain; charset=utf-8";
  if (request.method != "GET" && request.method != "HEAD") {
    auto refusal = Text(405, kPlain, "only GET and HEAD\n");
    refusal.headers.Add("Allow", "GET, HEAD");
    return refusal;
  }
  if (request.path == "/livez") return Text(200, kPlain, "ok\n");
  if (request.path == "/readyz") return Readiness();
  if (request.path == "/metrics") {
    auto readings = ProcessReadings();
    if (options_.readings) {
      for (auto& reading : options_.readings()) readings.push_back(std::move(reading));
    }
    return Text(200, kMetricsContentType, MetricsText(readings));
  }
  return Text(404, kPlain, "not found (there are /metrics, /livez and /readyz)\n");
}

net::ServerResponse NodeStatus::Readiness() const {
  bool ready = true;
  json checks = json::array();
  for (const Probe& probe : options_.probes) {
    const Status status = probe.ask();
    ready = ready && status.ok();
    checks.push_back({{"name", probe.name},
                      {"where", probe.where},
                      {"ready", status.ok()},
                      {"error", status.ok() ? "" : status.message()}});
  }
  const json out = {{"ready", ready}, {"checks", std::move(checks)}};
  return Text(ready ? 200 : 503, "application/json",
              out.dump(-1, ' ', false, json::error_handler_t::replace) + "\n");
}

Status NodeStatus::Ready() const {
  std::string why;
  for (const Probe& probe : options_.probes) {
    const Status status = probe.ask();
    if (!status.ok()) why += (why.empty() ? "" : "; ") + probe.name + ": " + status.message();
  }
  return why.empty() ? OkStatus() : Unavailable("not ready: " + why);
}

net::HttpServer::Handler Counted(std::string server,
                                 std::function<std::string(const net::ServerRequest&)> route,
                                 net::HttpServer::Handler handler) {
  return [server = std::move(server), route = std::move(route), handler = std::move(handler)](
             net::ServerRequest request, net::HttpServer::Respond respond) {
    const auto started = std::chrono::steady_clock::now();
    auto counted = [server, name = route(request), started,
                    respond = std::move(respond)](net::ServerResponse response) {
      const std::chrono::duration<double> took = std::chrono::steady_clock::now() - started;
      g_requests.Add({server, name, std::to_string(response.status)});
      g_seconds.Observe({server, name}, took.count());
      respond(std::move(response));
    };
    handler(std::move(request), std::move(counted));
  };
}

std::string MirrorRoute(const net::ServerRequest& request) {
  if (request.path == "/v2/" || request.path == "/v2") return "base";
  if (request.path.starts_with("/v2/")) {
    if (request.path.find("/manifests/") != std::string::npos) return "manifest";
    if (request.path.find("/blobs/") != std::string::npos) return "blob";
  }
  return "other";
}

}  // namespace hearth::cmd
