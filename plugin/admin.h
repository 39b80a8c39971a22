// Admin: what the commands ask of a running node, as HTTP over RUN/admin.sock.
//
//   GET /v1/status · POST /v1/preheat · GET /v1/explain · GET /v1/store · POST /v1/store/verify
//   POST /v1/store/gc · DELETE /v1/store/DIGEST · POST /v1/get · GET /v1/blobs/DIGEST
//   POST /v1/adopt · POST /v1/repair · POST /v1/hand-back
// docs/api.md describes each. Long work answers with one JSON object a line as it goes; a client
// that closes its connection cancels it. Any thread.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <string>

#include "base/status.h"
#include "base/thread.h"
#include "base/timer.h"
#include "net/http_server.h"
#include "plugin/explain.h"
#include "plugin/file_cache.h"
#include "plugin/handback.h"
#include "plugin/holders.h"
#include "plugin/preheat.h"
#include "plugin/preheat_file.h"
#include "plugin/repair.h"
#include "plugin/sole_run.h"
#include "plugin/takeover.h"
#include "plugin/unpreheat.h"
#include "store/collector.h"
#include "store/store.h"

namespace hearth::plugin {

class EventStream;

class Admin {
 public:
  struct Options {
    store::Store& store;
    store::Collector& collector;
    Preheater& preheater;
    Explainer& explainer;
    FileCache& files;
    TimerQueue& timers;
    ImageResolver& resolver;
    SoleRun& sole;
    ContainerdClient* containerd = nullptr;  // null = none
    Takeover* takeover = nullptr;            // null = no containerd
    Repair* repair = nullptr;                // null = no containerd
    Handback* handback = nullptr;            // null = no containerd
    Depth default_depth = Depth::kImage;
    size_t parallel_preheats = 4;         // images at once, over all requests
    std::function<std::string()> status;  // a JSON object
  };
  explicit Admin(Options options);
  ~Admin();

  // For HttpServer. Must not be called after Stop().
  void Handle(net::ServerRequest request, net::HttpServer::Respond respond);
  // Cancels long work and joins its threads. Idempotent.
  void Stop();

 private:
  void Preheat(const net::ServerRequest& request, const net::HttpServer::Respond& respond);
  void PreheatFile(const PreheatRequest& request, EventStream& events, std::stop_token stop);
  net::ServerResponse Explain(const net::ServerRequest& request);
  net::ServerResponse ListStore();
  void Collect(const net::ServerRequest& request, const net::HttpServer::Respond& respond);
  void Verify(const net::ServerRequest& request, const net::HttpServer::Respond& respond);
  net::ServerResponse Remove(const net::ServerRequest& request);
  Status RemoveOne(const Digest& digest);
  net::ServerResponse DropPreheat(const net::ServerRequest& request);
  void Get(const net::ServerRequest& request, const net::HttpServer::Respond& respond);
  void Adopt(const net::ServerRequest& request, const net::HttpServer::Respond& respond);
  void RepairStore(const net::ServerRequest& request, const net::HttpServer::Respond& respond);
  void HandBack(const net::ServerRequest& request, const net::HttpServer::Respond& respond);
  // One adoption, repair or handing back at a time; `work` tells its events and returns when it is
  // over.
  using Telling = std::function<void(std::string, bool)>;
  void RunAlone(const net::ServerRequest& request, const net::HttpServer::Respond& respond,
                std::function<Status(const Telling&, std::stop_token)> work);
  net::ServerResponse ReadBlob(const net::ServerRequest& request);

  const Options options_;
  Unpreheater unpreheater_;
  FilePreheater file_preheater_;
  const Holders holders_;
  std::stop_source stop_;
  ThreadPool preheats_;
  ThreadPool workers_;  // get and verify: preheats may take all of theirs for hours
};

}  // namespace hearth::plugin
