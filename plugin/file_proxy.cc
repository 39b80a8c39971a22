#include "plugin/file_proxy.h"

#include <sys/random.h>

#include <array>
#include <utility>

#include "base/digest.h"
#include "base/host_port.h"
#include "base/log.h"
#include "plugin/blob_body.h"
#include "plugin/file_answer.h"
#include "plugin/file_body.h"
#include "plugin/pass_through.h"

namespace hearth::plugin {
namespace {

std::string RandomName() {
  std::array<uint8_t, 8> bytes{};
  CHECK(::getrandom(bytes.data(), bytes.size(), 0) == static_cast<ssize_t>(bytes.size()));
  return "hearth-" + ToHex(bytes);
}

net::ServerResponse TextAnswer(int status, const std::string& text) {
  net::ServerResponse answer;
  answer.status = status;
  answer.headers.Add("Content-Type", "text/plain; charset=utf-8");
  answer.body = "hearth: " + text + "\n";
  return answer;
}

bool Reads(const net::ServerRequest& request) {
  return (request.method == "GET" || request.method == "HEAD") && request.body.empty();
}

}  // namespace

struct FileProxy::Call {
  net::ServerRequest request;
  net::HttpServer::Respond respond;
  ProxyTarget target;
  DragonflyHeaders dragonfly;

  bool head() const { return request.method == "HEAD"; }
  // Status and headers are ready; what they are of is told beside them.
  void Finish(net::ServerResponse response, const FileOffer& offer, bool finished,
              std::string_view via) const {
    response.headers = ReturnedHeaders(response.headers, via);
    response.headers.Set("X-Dragonfly-Task-ID", offer.task_id);
    response.headers.Set("X-Dragonfly-Task-Download-Finished", finished ? "true" : "false");
    if (offer.unchecked) response.headers.Set("Warning", "111 - \"Revalidation Failed\"");
    respond(std::move(response));
  }
};

FileProxy::FileProxy(Options options)
    : options_(std::move(options)),
      via_(RandomName()),
      pool_({.name = "file-proxy", .threads = options_.threads, .queue_limit = options_.queue}) {}

void FileProxy::Stop() { pool_.Join(); }

void FileProxy::SetAddress(const std::string& address) {
  if (const auto parsed = HostPort::Parse(address); parsed.ok()) own_port_ = parsed->port;
}

bool FileProxy::IsOwnAddress(const std::string& host, uint16_t port) const {
  const bool loopback = host == "localhost" || host == "::1" || host.starts_with("127.");
  return loopback && port == own_port_;
}

bool FileProxy::Takes(const net::ServerRequest& request) {
  return request.method == "CONNECT" || request.target.starts_with("/file/") ||
         (!request.target.starts_with('/') && request.target != "*");
}

void FileProxy::Handle(net::ServerRequest request, net::HttpServer::Respond respond) {
  auto target = ProxyTarget::Parse(request.method, request.target);
  if (!target.ok()) return respond(TextAnswer(400, target.status().message()));
  if (target->kind == ProxyTarget::Kind::kNone) {
    return respond(TextAnswer(400, "no proxy request (want GET http://HOST/PATH)"));
  }
  if (HasPassed(request.headers, via_) || IsOwnAddress(target->host, target->port)) {
    return respond(TextAnswer(508,
                              "the request leads back to this proxy (check the proxy "
                              "settings of " +
                                  target->host + ")"));
  }
  auto dragonfly = DragonflyHeaders::Parse(request.headers);
  if (!dragonfly.ok()) {
    const bool refused = dragonfly.status().code() == StatusCode::kUnimplemented;
    return respond(TextAnswer(refused ? 501 : 400, dragonfly.status().message()));
  }
  const auto call = std::make_shared<Call>(Call{.request = std::move(request),
                                                .respond = std::move(respond),
                                                .target = *std::move(target),
                                                .dragonfly = *std::move(dragonfly)});
  Dispatch(call);
}

void FileProxy::Dispatch(const std::shared_ptr<Call>& call) {
  const bool connect = call->target.kind == ProxyTarget::Kind::kConnect;
  if (!connect && (!Reads(call->request) || HasPreconditions(call->request.headers))) {
    return Pass(*call);
  }
  const Status queued =
      pool_.Submit([this, call, connect] { connect ? Connect(*call) : Serve(*call); });
  if (!queued.ok()) call->respond(TextAnswer(503, "too many requests wait (try again later)"));
}

void FileProxy::Serve(const Call& call) {
  if (call.request.client_gone.stop_requested()) return;
  const bool wanted = call.target.kind == ProxyTarget::Kind::kFile || call.dragonfly.use_store ||
                      options_.files.rules().Find(call.target.url) != nullptr;
  FileRequest request;
  request.url = call.target.url;
  request.headers = ForwardedHeaders(call.request.headers, via_);
  request.labels = call.dragonfly.labels;
  request.prefetch = call.dragonfly.prefetch && wanted;
  auto offer = options_.files.Offer(request, call.request.method, RangeBegin(call.request.headers),
                                    !wanted, call.request.client_gone);
  if (!offer.ok()) {
    LOG_INFO("file not served",
             {{"url", WithoutSecrets(call.target.url)}, {"error", offer.status()}});
    return call.respond(GatewayAnswer(offer.status()));
  }
  switch (offer->kind) {
    case FileOffer::Kind::kStored:
      return SendStored(call, *offer);
    case FileOffer::Kind::kGrowing:
      return SendGrowing(call, *offer);
    case FileOffer::Kind::kPass:
      return Pass(call);
    case FileOffer::Kind::kRefused:
      break;
  }
  net::ServerResponse answer;
  answer.status = offer->refusal->status;
  answer.headers = ReturnedHeaders(offer->refusal->headers, via_);
  if (!call.head()) answer.body = std::move(offer->refusal->body);
  call.respond(std::move(answer));
}

void FileProxy::Pass(const Call& call) {
  const PassThrough pass{.client = options_.client, .via = via_};
  pass.Run(call.request, options_.files.rules().Origin(call.target.url), call.respond);
}

void FileProxy::SendStored(const Call& call, const FileOffer& offer) {
  const uint64_t total_bytes = offer.blob->size_bytes();
  FileAnswer answer = FileAnswer::To(call.request.headers, offer.version, total_bytes);
  if (answer.has_body && !call.head()) {
    const ByteRange range = answer.range.value_or(ByteRange{0, total_bytes});
    answer.response.body = std::shared_ptr<net::BodySource>(std::make_shared<BlobBody>(
        offer.blob, nullptr, range, BlobBody::Options{.timers = options_.timers}));
  }
  call.Finish(std::move(answer.response), offer, true, via_);
}

void FileProxy::SendGrowing(const Call& call, const FileOffer& offer) {
  const GrowingFile::State state = offer.growing->state();
  const bool whole = state.ended && state.ended->ok();
  const auto total_bytes = whole ? std::optional(state.present_bytes) : state.version.size_bytes;
  FileAnswer answer = FileAnswer::To(call.request.headers, state.version, total_bytes);
  if (answer.has_body) {
    answer.response.body = std::shared_ptr<net::BodySource>(std::make_shared<FileBody>(
        offer.growing, offer.wanted, answer.range, options_.timers, options_.stall_timeout));
  }
  call.Finish(std::move(answer.response), offer, whole, via_);
}

void FileProxy::Connect(const Call& call) {
  const ProxyTarget& target = call.target;
  const std::string where = target.host + ":" + std::to_string(target.port);
  if (!options_.files.rules().NamesHost(target.host, target.port)) {
    return call.respond(TextAnswer(403, "CONNECT to " + where +
                                            ": no [[proxy.rule]] names this host (add one whose "
                                            "match begins with ^https://HOST/)"));
  }
  if (++*open_tunnels_ > options_.tunnels) {
    --*open_tunnels_;
    return call.respond(TextAnswer(503, "too many tunnels are open"));
  }
  auto socket = options_.connect(target.host, target.port);
  if (!socket.ok()) {
    --*open_tunnels_;
    return call.respond(GatewayAnswer(socket.status().Annotate("CONNECT " + where)));
  }
  net::ServerResponse answer;
  answer.tunnel = std::shared_ptr<Fd>(new Fd(std::move(*socket)), [count = open_tunnels_](Fd* fd) {
    delete fd;
    --*count;
  });
  call.respond(std::move(answer));
}

}  // namespace hearth::plugin
