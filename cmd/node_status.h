// NodeStatus: what the status server answers: /metrics, /livez, /readyz. Read only.
//
// Any thread. /livez says that the process answers; /readyz asks every socket of the node as its
// clients would.
#pragma once

#include <chrono>
#include <functional>
#include <string>
#include <vector>

#include "base/metrics.h"
#include "base/status.h"
#include "net/http_client.h"
#include "net/http_server.h"

namespace hearth::cmd {

// One thing that must answer before the node is ready.
struct Probe {
  std::string name;             // "containerd_socket"
  std::string where;            // address or path, for people
  std::function<Status()> ask;  // blocks for a few seconds at most
};

inline constexpr std::chrono::milliseconds kProbeWait{3'000};
inline constexpr uint64_t kProbeBytes = 64 << 10;

// An HTTP server of ours, at `address` (HOST:PORT or unix:PATH), that answers at all, with whatever
// status, is ready.
Probe HttpProbe(net::HttpClient& client, std::string name, const std::string& address,
                const std::string& path);

class NodeStatus {
 public:
  struct Options {
    std::vector<Probe> probes;
    // Called for each /metrics; may read the store's index.
    std::function<std::vector<Reading>()> readings;
  };
  // What the callbacks use must outlive the server that calls Handle().
  explicit NodeStatus(Options options) : options_(std::move(options)) {}

  void Handle(const net::ServerRequest& request, const net::HttpServer::Respond& respond) const;
  // OK when every probe answers; else all that do not, and why.
  Status Ready() const;

 private:
  net::ServerResponse Answer(const net::ServerRequest& request) const;
  net::ServerResponse Readiness() const;

  const Options options_;
};

// `handler`, with each answer counted in hearth_http_requests_total and its time (until the head is
// there) in hearth_http_request_seconds. `route` turns a request into one of a few words.
net::HttpServer::Handler Counted(std::string server,
                                 std::function<std::string(const net::ServerRequest&)> route,
                                 net::HttpServer::Handler handler);
// Routes of the mirror: "base", "manifest", "blob", "other".
std::string MirrorRoute(const net::ServerRequest& request);

}  // namespace hearth::cmd
