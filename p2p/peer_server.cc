#include "p2p/peer_server.h"

#include <algorithm>
#include <charconv>
#include <utility>
#include <vector>

#include "base/log.h"
#include "net/certificate.h"
#include "p2p/traffic.h"

namespace hearth::p2p {

namespace {

constexpr std::string_view kPrefix = "/v1/blob/sha256/";

std::optional<uint64_t> Number(std::string_view text) {
  uint64_t value = 0;
  const char* end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, value);
  if (text.empty() || error != std::errc() || stop != end) return std::nullopt;
  return value;
}

net::ServerResponse Refusal(const Status& why) {
  net::ServerResponse response;
  response.status = net::HttpStatusFor(why.code());
  response.body = why.message() + "\n";
  return response;
}

}  // namespace

Result<PieceRange> ParsePieceRequest(std::string_view path, std::string_view range) {
  if (!path.starts_with(kPrefix)) return NotFound("no such path");
  const auto digest = Digest::FromHex(path.substr(kPrefix.size()));
  if (!digest.ok()) return NotFound("no such path");
  constexpr std::string_view kUnit = "bytes=";
  const size_t dash = range.find('-');
  const Status bad = OutOfRange("want a range \"bytes=A-B\" of whole pieces, at most " +
                                std::to_string(PeerServer::kMaxRangeBytes) + " bytes");
  if (!range.starts_with(kUnit) || dash == std::string_view::npos) return bad;
  const auto first = Number(range.substr(kUnit.size(), dash - kUnit.size()));
  const auto last = Number(range.substr(dash + 1));
  if (!first || !last || *last < *first || *last - *first >= PeerServer::kMaxRangeBytes) return bad;
  return PieceRange{*digest, *first, *last + 1};
}

// One upload under way, a chunk at a time; the limiter says when the next one may go.
class PeerServer::Body final : public net::BodySource, public std::enable_shared_from_this<Body> {
 public:
  Body(PeerServer& server, UploadId id, std::shared_ptr<store::Blob> blob, const PieceRange& range)
      : server_(server),
        id_(id),
        blob_(std::move(blob)),
        file_(blob_->file()),
        at_(range.begin_bytes),
        end_(range.end_bytes) {}
  ~Body() override { server_.Done(id_); }

  void Next(std::function<void(Result<net::BodyChunk>)> ready) override {
    if (server_.options_.clock.SteadyNow() >= free_at_) return Give(ready);
    // Whoever waits for the chunk keeps the body; where it went, nobody does.
    server_.options_.timers.At(free_at_, [weak = weak_from_this(), ready = std::move(ready)] {
      if (const auto self = weak.lock()) self->Give(ready);
    });
  }

 private:
  void Give(const std::function<void(Result<net::BodyChunk>)>& ready) {
    net::BodyChunk chunk;
    chunk.file = file_;
    chunk.offset_bytes = at_;
    chunk.size_bytes = std::min<uint64_t>(net::HttpServer::kTlsChunkBytes, end_ - at_);
    at_ += chunk.size_bytes;
    chunk.last = at_ == end_;
    free_at_ = server_.options_.limiter.Charge(Limiter::Traffic::kUpload, chunk.size_bytes,
                                               server_.options_.clock.SteadyNow());
    CountSentToPeer(chunk.size_bytes);
    ready(std::move(chunk));
  }

  PeerServer& server_;
  const UploadId id_;
  const std::shared_ptr<store::Blob> blob_;
  const std::shared_ptr<const Fd> file_;
  uint64_t at_;
  const uint64_t end_;
  SteadyTime free_at_{};
};

PeerServer::PeerServer(Options options)
    : options_(std::move(options)),
      queue_({.slots = options_.uploads, .max_waiting = options_.uploads * 8}) {}

Result<std::unique_ptr<PeerServer>> PeerServer::Start(Options options) {
  auto server = std::unique_ptr<PeerServer>(new PeerServer(std::move(options)));
  net::HttpServer::Options http;
  http.listen = server->options_.listen;
  http.tls = server->options_.identity;
  http.max_connections = kMaxConnections;
  http.max_body_bytes = 0;
  http.max_header_bytes = kMaxHeaderBytes;
  http.idle_timeout = kIdleTimeout;
  http.handler_threads = 2;
  server->server_ = TRY(net::HttpServer::Start(
      std::move(http), [peer_server = server.get()](net::ServerRequest request,
                                                    const net::HttpServer::Respond& respond) {
        peer_server->Answer(std::move(request), respond);
      }));
  return server;
}

PeerServer::~PeerServer() { Stop(std::chrono::milliseconds(0)); }

void PeerServer::Stop(std::chrono::milliseconds grace) {
  if (!server_) return;
  server_->Stop(grace);
  std::map<UploadId, Waiting> waiting;
  {
    MutexLock lock(mutex_);
    waiting.swap(waiting_);
    // A timer may hold a body for a moment still.
    while (bodies_ > 0) gone_.Wait(mutex_);
  }
}

// The asker's node id.
Result<std::string> PeerServer::CheckAsker(const net::ServerRequest& request) const {
  if (!request.peer || request.peer->uris.size() != 1) {
    return PermissionDenied("the certificate has not one identity of a cluster");
  }
  // A connection may outlive the certificate that it began with.
  if (request.peer->expires <= options_.clock.WallNow()) {
    return PermissionDenied("the certificate has expired; connect again with a new one");
  }
  const auto identity = net::Identity::Parse(request.peer->uris.front());
  if (!identity.ok() || identity->role != net::Role::kNode ||
      identity->cluster != options_.cluster) {
    return PermissionDenied("only nodes of cluster " + options_.cluster + " get pieces here");
  }
  if (options_.may_ask && !options_.may_ask(identity->id)) {
    return PermissionDenied("node " + identity->id + " is banned");
  }
  return identity->id;
}

Result<std::shared_ptr<store::Blob>> PeerServer::Find(const PieceRange& range) const {
  if (options_.may_share && !options_.may_share(range.blob)) {
    return PermissionDenied("the blob's registry is not shared between nodes");
  }
  std::shared_ptr<store::Blob> blob = options_.blobs.FindGrowing(range.blob);
  if (!blob) blob = TRY(options_.blobs.Open(range.blob));
  const uint64_t size = blob->size_bytes();
  const uint64_t piece = PieceSizeFor(size);
  const bool whole =
      range.begin_bytes % piece == 0 && (range.end_bytes % piece == 0 || range.end_bytes == size);
  if (!whole || range.end_bytes > size) {
    return OutOfRange("the range is not of whole pieces of " + std::to_string(piece) +
                      " bytes in a blob of " + std::to_string(size));
  }
  if (blob->Available(range.begin_bytes) < range.end_bytes - range.begin_bytes) {
    return NotFound("a piece of the range is not here");
  }
  return blob;
}

void PeerServer::Answer(net::ServerRequest request, const net::HttpServer::Respond& respond) {
  const auto asker = CheckAsker(request);
  if (!asker.ok()) {
    LOG_WARNING("peer refused", {{"error", asker.status()}});
    return respond(Refusal(asker.status()));
  }
  if (request.method != "GET") return respond(Refusal(Unimplemented("only GET is known here")));
  const auto range = ParsePieceRequest(request.path, request.headers.Get("Range"));
  if (!range.ok()) return respond(Refusal(range.status()));
  auto blob = Find(*range);
  if (!blob.ok()) return respond(Refusal(blob.status()));
  bool queued = false;
  {
    MutexLock lock(mutex_);
    const UploadQueue::Upload upload{.id = UploadId{next_id_},
                                     .peer = std::hash<std::string>()(*asker),
                                     .bytes = range->end_bytes - range->begin_bytes,
                                     .holders = 0};
    queued = queue_.Push(upload, options_.clock.SteadyNow());
    if (queued) {
      waiting_[UploadId{next_id_++}] = {*std::move(blob), *range, respond, request.client_gone};
    }
  }
  if (!queued) return respond(Refusal(ResourceExhausted("too many uploads wait here")));
  SendNext();
}

uint32_t PeerServer::Holders(UploadId id) const {
  const auto waiting = waiting_.find(id);
  if (!options_.holders || waiting == waiting_.end()) return 0;
  const PieceRange& range = waiting->second.range;
  const uint64_t piece = range.begin_bytes / PieceSizeFor(waiting->second.blob->size_bytes());
  return options_.holders(range.blob, PieceIndex{static_cast<uint32_t>(piece)});
}

void PeerServer::SendNext() {
  while (true) {
    UploadId id{};
    Waiting waiting;
    {
      MutexLock lock(mutex_);
      const auto upload =
          queue_.Next([this](UploadId waiter) NO_THREAD_SAFETY_ANALYSIS { return Holders(waiter); },
                      options_.clock.SteadyNow());
      if (!upload) return;
      id = upload->id;
      const auto found = waiting_.find(id);
      if (found == waiting_.end()) {
        queue_.Done(id, options_.clock.SteadyNow());
        continue;
      }
      waiting = std::move(found->second);
      waiting_.erase(found);
      ++bodies_;
    }
    Send(id, std::move(waiting));
  }
}

void PeerServer::Send(UploadId id, Waiting waiting) {
  // The body gives its slot back when it goes, whether it was sent or not.
  auto body = std::make_shared<Body>(*this, id, waiting.blob, waiting.range);
  if (waiting.client_gone.stop_requested()) return;
  net::ServerResponse response;
  response.status = 206;
  response.content_length = waiting.range.end_bytes - waiting.range.begin_bytes;
  response.headers.Set("Content-Range", "bytes " + std::to_string(waiting.range.begin_bytes) + "-" +
                                            std::to_string(waiting.range.end_bytes - 1) + "/" +
                                            std::to_string(waiting.blob->size_bytes()));
  response.body = std::move(body);
  waiting.respond(std::move(response));
}

void PeerServer::Done(UploadId id) {
  {
    MutexLock lock(mutex_);
    queue_.Done(id, options_.clock.SteadyNow());
    --bodies_;
  }
  SendNext();
  MutexLock lock(mutex_);
  gone_.NotifyAll();
}

}  // namespace hearth::p2p
