#include "plugin/admin.h"

#include <nlohmann/json.hpp>
#include <set>
#include <utility>

#include "base/log.h"
#include "plugin/admin_json.h"
#include "plugin/blob_body.h"
#include "plugin/byte_range.h"
#include "plugin/event_stream.h"
#include "plugin/explain_file.h"
#include "plugin/handback_call.h"
#include "plugin/repair_call.h"
#include "plugin/takeover_call.h"

namespace hearth::plugin {

namespace {

using nlohmann::json;

constexpr size_t kMaxReferences = 256;
constexpr size_t kWorkers = 4;
constexpr std::string_view kStorePrefix = "/v1/store/";
constexpr std::string_view kBlobPrefix = "/v1/blobs/";

net::ServerResponse JsonResponse(int status, std::string body) {
  net::ServerResponse response;
  response.status = status;
  response.headers.Add("Content-Type", "application/json");
  response.body = std::move(body);
  return response;
}

net::ServerResponse ErrorResponse(const Status& status) {
  return JsonResponse(net::HttpStatusFor(status.code()), ErrorJson(status));
}

Status NoContainerd() {
  return FailedPrecondition("this node has no containerd (set [containerd] address)");
}

net::ServerResponse StreamResponse(std::shared_ptr<EventStream> events) {
  net::ServerResponse response;
  response.headers.Add("Content-Type", "application/x-ndjson");
  response.body = std::shared_ptr<net::BodySource>(std::move(events));
  return response;
}

// Ends when the client goes away or the node stops.
class WorkStop {
 public:
  WorkStop(std::stop_token client, std::stop_token node)
      : on_client_(std::move(client), Forward{source_}),
        on_node_(std::move(node), Forward{source_}) {}
  std::stop_token token() const { return source_.get_token(); }

 private:
  struct Forward {
    std::stop_source source;
    void operator()() { source.request_stop(); }
  };
  std::stop_source source_;
  std::stop_callback<Forward> on_client_;
  std::stop_callback<Forward> on_node_;
};

Result<json> ParseBody(const net::ServerRequest& request) {
  json body = json::parse(request.body, nullptr, false);
  if (!body.is_object()) return InvalidArgument("request body: not a JSON object");
  return body;
}

Result<std::vector<PreheatRequest>> ParsePreheat(const net::ServerRequest& request,
                                                 Depth default_depth) {
  const json body = TRY(ParseBody(request));
  static const std::set<std::string> kKnown = {"references", "depth", "platforms", "pin_seconds"};
  for (const auto& [key, value] : body.items()) {
    if (!kKnown.contains(key))
      return InvalidArgument("request body: unknown field \"" + key + "\"");
  }
  PreheatRequest common;
  common.depth = default_depth;
  common.is_default_depth = true;
  std::vector<PreheatRequest> requests;
  try {
    if (body.contains("depth") && !body["depth"].is_null()) {
      common.depth = TRY(ParseDepth(body["depth"].get<std::string>()));
      common.is_default_depth = false;
    }
    for (const auto& platform : body.value("platforms", json::array())) {
      common.platforms.push_back(TRY(oci::Platform::Parse(platform.get<std::string>())));
    }
    if (const auto pin = body.value("pin_seconds", int64_t{0}); pin > 0) {
      common.pin = std::chrono::seconds(pin);
    }
    for (const auto& reference : body.value("references", json::array())) {
      common.reference = reference.get<std::string>();
      requests.push_back(common);
    }
  } catch (const json::exception& error) {
    return InvalidArgument(std::string("request body: ") + error.what());
  }
  if (requests.empty()) return InvalidArgument("request body: \"references\" is empty");
  if (requests.size() > kMaxReferences) {
    return InvalidArgument("request body: " + std::to_string(requests.size()) +
                           " references, at most " + std::to_string(kMaxReferences));
  }
  return requests;
}

// Tells one image's progress as events.
class PreheatTeller {
 public:
  PreheatTeller(EventStream& events, const PreheatRequest& request)
      : events_(events), reference_(request.reference) {
    for (const auto& platform : request.platforms) {
      if (!platform_.empty()) platform_ += ',';
      platform_ += platform.ToString();
    }
    if (platform_.empty()) platform_ = oci::Platform::Host().ToString();
  }

  void Progress(const PreheatProgress& progress) {
    const auto now = std::chrono::steady_clock::now();
    if (!resolved_) {
      resolved_ = true;
      first_bytes_ = progress.bytes_done;
      started_ = now;
      events_.Write(ResolvedEvent(reference_, platform_, progress));
    }
    for (const auto& layer : progress.layers) {
      if (layer.phase == BuildPhase::kDone && told_.insert(layer.digest).second) {
        events_.Write(LayerDoneEvent(reference_, layer.digest));
      }
    }
    const double seconds = std::chrono::duration<double>(now - started_).count();
    events_.Write(ProgressEvent(reference_, progress, first_bytes_, seconds), true);
  }

 private:
  EventStream& events_;
  const std::string reference_;
  std::string platform_;
  bool resolved_ = false;
  uint64_t first_bytes_ = 0;
  std::chrono::steady_clock::time_point started_;
  std::set<Digest> told_;
};

double SecondsSince(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

std::string FileProgressEvent(const FileProgress& now,
                              std::chrono::steady_clock::time_point started) {
  const double seconds = SecondsSince(started) + 1e-9;
  return json({{"event", "progress"},
               {"bytes_done", now.present_bytes},
               {"bytes_total", now.total_bytes ? json(*now.total_bytes) : json(nullptr)},
               {"bytes_per_second", static_cast<double>(now.present_bytes) / seconds}})
      .dump();
}

}  // namespace

Admin::Admin(Options options)
    : options_(std::move(options)),
      unpreheater_(options_.store, options_.resolver),
      file_preheater_({options_.store, options_.collector, options_.files}),
      holders_(options_.store, options_.containerd),
      preheats_({.name = "preheat", .threads = options_.parallel_preheats, .queue_limit = 1024}),
      workers_({.name = "admin", .threads = kWorkers, .queue_limit = 1024}) {}

Admin::~Admin() { Stop(); }

void Admin::Stop() {
  stop_.request_stop();
  preheats_.Join();
  workers_.Join();
}

void Admin::Handle(net::ServerRequest request, net::HttpServer::Respond respond) {
  const std::string route = request.method + " " + request.path;
  if (route == "GET /v1/status") return respond(JsonResponse(200, options_.status()));
  if (route == "POST /v1/preheat") return Preheat(request, respond);
  if (route == "DELETE /v1/preheat") return respond(DropPreheat(request));
  if (route == "GET /v1/explain") return respond(Explain(request));
  if (route == "GET /v1/store") return respond(ListStore());
  if (route == "POST /v1/store/gc") return Collect(request, respond);
  if (route == "POST /v1/store/verify") return Verify(request, respond);
  if (route == "POST /v1/get") return Get(request, respond);
  if (route == "POST /v1/adopt") return Adopt(request, respond);
  if (route == "POST /v1/repair") return RepairStore(request, respond);
  if (route == "POST /v1/hand-back") return HandBack(request, respond);
  if (request.method == "DELETE" && request.path.starts_with(kStorePrefix)) {
    return respond(Remove(request));
  }
  if (request.method == "GET" && request.path.starts_with(kBlobPrefix)) {
    return respond(ReadBlob(request));
  }
  respond(ErrorResponse(NotFound("no such call: " + route)));
}

void Admin::Preheat(const net::ServerRequest& request, const net::HttpServer::Respond& respond) {
  auto parsed = ParsePreheat(request, options_.default_depth);
  if (!parsed.ok()) return respond(ErrorResponse(parsed.status()));
  const auto events = std::make_shared<EventStream>();
  const auto stop = std::make_shared<WorkStop>(request.client_gone, stop_.get_token());
  const auto left = std::make_shared<std::atomic<size_t>>(parsed->size());
  for (const auto& one : *parsed) {
    const auto run = [this, one, events, stop, left] {
      if (IsFileUrl(one.reference)) {
        PreheatFile(one, *events, stop->token());
        if (--*left == 0) events->End();
        return;
      }
      const auto started = std::chrono::steady_clock::now();
      PreheatTeller teller(*events, one);
      const auto result = options_.preheater.Run(
          one, [&](const PreheatProgress& progress) { teller.Progress(progress); }, stop->token());
      if (result.ok()) {
        events->Write(DoneEvent(one.reference, *result, SecondsSince(started)));
      } else {
        // What cannot be read may be anything, a password too; its sender is told.
        if (result.status().code() != StatusCode::kInvalidArgument) {
          LOG_WARNING("preheat failed", {{"reference", one.reference}, {"error", result.status()}});
        }
        events->Write(FailedEvent(one.reference, result.status()));
      }
      if (--*left == 0) events->End();
    };
    if (const Status queued = preheats_.Submit(run); !queued.ok()) {
      events->Write(FailedEvent(one.reference, queued));
      if (--*left == 0) events->End();
    }
  }
  respond(StreamResponse(events));
}

void Admin::PreheatFile(const PreheatRequest& request, EventStream& events, std::stop_token stop) {
  const auto started = std::chrono::steady_clock::now();
  FileRequest file;
  file.url = request.reference;
  const auto result = file_preheater_.Run(
      std::move(file), request.pin,
      [&](const PreheatProgress& now) {
        events.Write(ProgressEvent(request.reference, now, 0, SecondsSince(started)), true);
      },
      stop);
  if (result.ok()) {
    events.Write(DoneEvent(request.reference, *result, SecondsSince(started)));
  } else {
    LOG_WARNING("preheat failed",
                {{"url", WithoutSecrets(request.reference)}, {"error", result.status()}});
    events.Write(FailedEvent(request.reference, result.status()));
  }
}

net::ServerResponse Admin::Explain(const net::ServerRequest& request) {
  const auto explain = [&]() -> Result<std::string> {
    std::optional<oci::Platform> platform;
    if (const auto text = net::QueryValue(request.query, "platform"); !text.empty()) {
      platform = TRY(oci::Platform::Parse(text));
    }
    const std::string reference = net::QueryValue(request.query, "reference");
    if (IsFileUrl(reference)) {
      return FileExplanationJson(TRY(ExplainFile(options_.files, options_.store, reference)));
    }
    return ExplanationJson(
        TRY(options_.explainer.Explain(reference, platform, request.client_gone)));
  };
  const auto answer = explain();
  return answer.ok() ? JsonResponse(200, *answer) : ErrorResponse(answer.status());
}

net::ServerResponse Admin::ListStore() {
  const auto answer = StoreJson(options_.store);
  return answer.ok() ? JsonResponse(200, *answer) : ErrorResponse(answer.status());
}

void Admin::Verify(const net::ServerRequest& request, const net::HttpServer::Respond& respond) {
  const bool repair = net::QueryValue(request.query, "repair") == "true";
  const auto events = std::make_shared<EventStream>();
  const auto stop = std::make_shared<WorkStop>(request.client_gone, stop_.get_token());
  const Status queued = workers_.Submit([this, repair, events, stop] {
    size_t problems = 0;
    const Status status = options_.store.Verify(
        repair,
        [&](const std::string& problem) {
          ++problems;
          events->Write(
              json({{"problem", problem}}).dump(-1, ' ', false, json::error_handler_t::replace));
        },
        stop->token());
    events->Write(status.ok() ? json({{"event", "done"}, {"problems", problems}}).dump()
                              : FailedEvent("", status));
    events->End();
  });
  respond(queued.ok() ? StreamResponse(events) : ErrorResponse(queued));
}

void Admin::Collect(const net::ServerRequest& request, const net::HttpServer::Respond& respond) {
  const bool dry_run = net::QueryValue(request.query, "dry_run") == "true";
  const auto events = std::make_shared<EventStream>();
  const auto stop = std::make_shared<WorkStop>(request.client_gone, stop_.get_token());
  const Status queued = workers_.Submit([this, dry_run, events, stop] {
    const auto done = options_.collector.Collect(
        dry_run, [&](const store::Victim& victim) { events->Write(VictimEvent(victim)); },
        stop->token());
    events->Write(done.ok() ? CollectedEvent(*done, dry_run) : FailedEvent("", done.status()));
    events->End();
  });
  respond(queued.ok() ? StreamResponse(events) : ErrorResponse(queued));
}

net::ServerResponse Admin::Remove(const net::ServerRequest& request) {
  const auto remove = [&]() -> Status {
    const auto name = TRY(net::PercentDecode(request.path.substr(kStorePrefix.size())));
    return RemoveOne(TRY(Digest::Parse(name)));
  };
  const Status status = remove();
  if (!status.ok()) return ErrorResponse(status);
  net::ServerResponse response;
  response.status = 204;
  return response;
}

Status Admin::RemoveOne(const Digest& digest) {
  if (options_.store.snapshots().FindLayer(digest).ok()) {
    Status removed = options_.store.snapshots().RemoveLayer(digest);
    if (removed.code() != StatusCode::kFailedPrecondition) return removed;
    return FailedPrecondition("layer " + digest.ToString() + " is in use by " +
                              JoinHolders(holders_.OfLayer(digest), "a snapshot") +
                              " (remove that first)");
  }
  const auto info = options_.store.blobs().Info(digest);
  if (info.ok() && info->claimed) {
    return FailedPrecondition(
        "blob " + digest.ToString() + ": containerd uses it for " +
        JoinHolders(holders_.OfBlob(digest), "no image (a lease, or a pull under way)") +
        " (remove that in containerd first)");
  }
  return options_.store.blobs().Remove(digest);
}

net::ServerResponse Admin::DropPreheat(const net::ServerRequest& request) {
  const auto drop = [&]() -> Result<std::string> {
    const std::string reference = net::QueryValue(request.query, "reference");
    if (reference.empty()) return InvalidArgument("reference: missing");
    if (IsFileUrl(reference)) {
      return InvalidArgument(
          "reference: a file is removed by its digest (DELETE /v1/store/DIGEST)");
    }
    return UnpreheatedJson(TRY(unpreheater_.Run(reference, request.client_gone)));
  };
  const auto answer = drop();
  return answer.ok() ? JsonResponse(200, *answer) : ErrorResponse(answer.status());
}

void Admin::Get(const net::ServerRequest& request, const net::HttpServer::Respond& respond) {
  const auto parse = [&]() -> Result<FileRequest> {
    const json body = TRY(ParseBody(request));
    FileRequest file;
    try {
      file.url = body.at("url").get<std::string>();
      if (const auto digest = body.value("digest", ""); !digest.empty()) {
        file.expected = TRY(Digest::Parse(digest));
      }
      const json headers = body.value("headers", json::object());
      for (const auto& [name, value] : headers.items()) {
        file.headers.Add(name, value.get<std::string>());
      }
    } catch (const json::exception& error) {
      return InvalidArgument(std::string("request body: ") + error.what());
    }
    return file;
  };
  auto file = parse();
  if (!file.ok()) return respond(ErrorResponse(file.status()));
  const auto events = std::make_shared<EventStream>();
  const auto stop = std::make_shared<WorkStop>(request.client_gone, stop_.get_token());
  const Status queued = workers_.Submit([this, file = std::move(*file), events, stop] {
    const auto started = std::chrono::steady_clock::now();
    const auto result = options_.files.Get(
        file,
        [&](const FileProgress& now) { events->Write(FileProgressEvent(now, started), true); },
        stop->token());
    if (result.ok()) {
      events->Write(json({{"event", "done"},
                          {"task_id", result->task_id},
                          {"digest", result->digest.ToString()},
                          {"size_bytes", result->size_bytes},
                          {"already_here", result->received_bytes == 0},
                          {"seconds", SecondsSince(started)}})
                        .dump());
    } else {
      events->Write(FailedEvent("", result.status()));
    }
    events->End();
  });
  respond(queued.ok() ? StreamResponse(events) : ErrorResponse(queued));
}

void Admin::Adopt(const net::ServerRequest& request, const net::HttpServer::Respond& respond) {
  RunAlone(request, respond,
           [this, body = request.body](const Telling& tell, const std::stop_token& stop) -> Status {
             if (options_.takeover == nullptr) return NoContainerd();
             return RunTakeover(*options_.takeover, body, tell, stop);
           });
}

void Admin::RepairStore(const net::ServerRequest& request,
                        const net::HttpServer::Respond& respond) {
  RunAlone(request, respond,
           [this, body = request.body](const Telling& tell, const std::stop_token& stop) -> Status {
             if (options_.repair == nullptr) return NoContainerd();
             return RunRepair(*options_.repair, body, tell, stop);
           });
}

void Admin::HandBack(const net::ServerRequest& request, const net::HttpServer::Respond& respond) {
  RunAlone(request, respond,
           [this, body = request.body](const Telling& tell, const std::stop_token& stop) -> Status {
             if (options_.handback == nullptr) return NoContainerd();
             return RunHandback(*options_.handback, body, tell, stop);
           });
}

void Admin::RunAlone(const net::ServerRequest& request, const net::HttpServer::Respond& respond,
                     std::function<Status(const Telling&, std::stop_token)> work) {
  if (!options_.sole.TryBegin()) {
    return respond(ErrorResponse(
        FailedPrecondition("another adopt, repair or uninstall is under way (wait for it, then run "
                           "this again)")));
  }
  const auto events = std::make_shared<EventStream>();
  const auto stop = std::make_shared<WorkStop>(request.client_gone, stop_.get_token());
  const Status queued = workers_.Submit([this, work = std::move(work), events, stop] {
    options_.sole.AwaitOwn();
    const Status status = work(
        [&](std::string line, bool replaceable) { events->Write(std::move(line), replaceable); },
        stop->token());
    options_.sole.End();
    if (!status.ok()) events->Write(FailedEvent("", status));
    events->End();
  });
  if (!queued.ok()) options_.sole.End();
  respond(queued.ok() ? StreamResponse(events) : ErrorResponse(queued));
}

net::ServerResponse Admin::ReadBlob(const net::ServerRequest& request) {
  const auto read = [&]() -> Result<net::ServerResponse> {
    const auto name = TRY(net::PercentDecode(request.path.substr(kBlobPrefix.size())));
    const auto blob = TRY(options_.store.blobs().Open(TRY(Digest::Parse(name))));
    const uint64_t size = blob->size_bytes();
    const auto range = TRY(ByteRange::Parse(request.headers.Get("Range"), size));
    net::ServerResponse response;
    response.headers.Add("Content-Type", "application/octet-stream");
    response.headers.Add("Accept-Ranges", "bytes");
    const ByteRange wanted = range.value_or(ByteRange{0, size});
    if (range) {
      response.status = 206;
      response.headers.Add("Content-Range", wanted.ContentRange(size));
    }
    response.content_length = wanted.size_bytes();
    response.body = std::shared_ptr<net::BodySource>(std::make_shared<BlobBody>(
        blob, nullptr, wanted, BlobBody::Options{.timers = options_.timers}));
    return response;
  };
  auto response = read();
  return response.ok() ? std::move(*response) : ErrorResponse(response.status());
}

}  // namespace hearth::plugin
