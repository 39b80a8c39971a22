#include "plugin/mirror.h"

#include <utility>

#include "base/log.h"
#include "oci/manifest.h"
#include "oci/media_type.h"
#include "plugin/byte_range.h"
#include "plugin/mirror_answer.h"

namespace hearth::plugin {
namespace {

constexpr char kDigestHeader[] = "Docker-Content-Digest";

std::string ETagOf(const Digest& digest) { return "\"" + digest.ToString() + "\""; }

bool Matches(std::string_view if_none_match, const Digest& digest) {
  return if_none_match == "*" || if_none_match.find(ETagOf(digest)) != std::string_view::npos;
}

Result<std::string> ReadWhole(store::Blob& blob, uint64_t limit_bytes) {
  if (blob.size_bytes() > limit_bytes) return ResourceExhausted("too large for a manifest");
  std::string content(blob.size_bytes(), '\0');
  const size_t got = TRY(ReadAt(blob.file()->get(), content, 0));
  if (got != content.size()) return DataLoss("shorter than its record says");
  return content;
}

}  // namespace

struct Mirror::Call {
  net::ServerRequest request;
  net::HttpServer::Respond respond;
  MirrorPath path;
  oci::Access access;  // as the caller

  bool head() const { return request.method == "HEAD"; }
};

Mirror::Mirror(Options options)
    : options_(std::move(options)),
      access_({.ttl = options_.auth_cache, .clock = options_.clock}) {}

void Mirror::Handle(net::ServerRequest request, net::HttpServer::Respond respond) {
  if (request.method != "GET" && request.method != "HEAD") {
    net::ServerResponse refusal = ErrorAnswer(Unimplemented("the mirror only reads"));
    refusal.status = 405;
    refusal.headers.Set("Allow", "GET, HEAD");
    return respond(std::move(refusal));
  }
  auto path = MirrorPath::Parse(request.path, request.query, options_.default_registry);
  if (!path.ok()) return respond(ErrorAnswer(path.status()));
  if (path->kind == MirrorPath::Kind::kBase) {
    net::ServerResponse answer;
    answer.headers.Set("Docker-Distribution-Api-Version", "registry/2.0");
    answer.headers.Set("Content-Type", "application/json");
    answer.body = "{}";
    return respond(std::move(answer));
  }
  Call call{.request = std::move(request),
            .respond = std::move(respond),
            .path = *std::move(path),
            .access = {}};
  call.access = {.registry = call.path.registry,
                 .repository = call.path.repository,
                 .authorization = Secret(std::string(call.request.headers.Get("Authorization")))};
  if (call.path.kind == MirrorPath::Kind::kBlob) return HandleBlob(call);
  call.respond(HandleManifest(call));
}

Result<net::HttpResponse> Mirror::AskOrigin(const Call& call) {
  oci::Registry::ForwardRequest forward{
      .registry = call.path.registry,
      .method = call.path.kind == MirrorPath::Kind::kBlob ? "HEAD" : call.request.method,
      .path_and_query = call.path.UpstreamPath(),
      .headers = {}};
  for (const char* name : {"Accept", "Authorization", "If-None-Match"}) {
    for (const std::string_view value : call.request.headers.GetAll(name)) {
      forward.headers.Add(name, std::string(value));
    }
  }
  if (call.path.kind == MirrorPath::Kind::kBlob) forward.headers.Remove("If-None-Match");
  auto answer = options_.registry.Forward(forward, call.request.client_gone);
  if (!answer.ok()) {
    LOG_WARNING("origin cannot be asked", {{"registry", call.path.registry},
                                           {"path", forward.path_and_query},
                                           {"error", answer.status()}});
    return answer;
  }
  if (answer->status == 200 || answer->status == 304) access_.Grant(call.access);
  if (answer->status == 401 || answer->status == 403) access_.Revoke(call.access);
  return answer;
}

// --- manifests ---

net::ServerResponse Mirror::HandleManifest(const Call& call) {
  const bool known = call.path.digest && seen_.Find(call.access, *call.path.digest);
  if (known && access_.Allows(call.access)) {
    if (Answer answer = ManifestFromStore(call)) return *std::move(answer);
  }
  const auto origin = AskOrigin(call);
  if (origin.ok() && origin->status < 500) return AnswerManifest(call, *origin);
  if (known && access_.AllowsOffline(call.access)) {
    if (Answer answer = ManifestFromStore(call)) return *std::move(answer);
  }
  return origin.ok() ? ForwardedAnswer(*origin, call.head()) : ErrorAnswer(origin.status());
}

net::ServerResponse Mirror::AnswerManifest(const Call& call, const net::HttpResponse& origin) {
  net::ServerResponse answer = ForwardedAnswer(origin, call.head());
  if (origin.status != 200) return answer;
  const auto named = Digest::Parse(origin.headers.Get(kDigestHeader));
  if (call.head()) {
    const auto length = net::ContentLength(origin.headers);
    if (named.ok() && length) seen_.Add(call.access, *named, *length);
    return answer;
  }
  const Digest digest = Digest::Of(origin.body);
  const std::optional<Digest> wanted = call.path.digest ? call.path.digest
                                       : named.ok()     ? std::optional(*named)
                                                        : std::nullopt;
  if (wanted && *wanted != digest) {
    const Status wrong =
        DataLoss("manifest " + call.path.repository + "@" + wanted->ToString() + " from " +
                 call.path.registry + " is really " + digest.ToString());
    LOG_WARNING("wrong manifest", {{"error", wrong}});
    return ErrorAnswer(wrong);
  }
  answer.headers.Set(kDigestHeader, digest.ToString());
  const auto media_type = oci::DocumentMediaType(
      origin.body, oci::WithoutParameters(origin.headers.Get("Content-Type")));
  if (media_type.ok()) KeepManifest(call, origin.body, *media_type, digest);
  return answer;
}

void Mirror::KeepManifest(const Call& call, const std::string& body, const std::string& media_type,
                          const Digest& digest) {
  seen_.Add(call.access, digest, body.size());
  seen_.AddChildren(call.access, body, media_type);
  auto grown = options_.blobs.Grow(digest, body.size());
  if (grown.ok() && grown->writer) {
    const Status written = grown->blob->Write(0, body);
    if (!written.ok()) {
      LOG_WARNING("manifest not kept", {{"digest", digest.ToString()}, {"error", written}});
      grown->blob->Fail(written);
    }
  }
  if (options_.observer != nullptr) {
    options_.observer->OnManifest({.registry = call.access.registry,
                                   .repository = call.access.repository,
                                   .authorization = call.access.authorization,
                                   .digest = digest,
                                   .media_type = media_type,
                                   .body = body});
  }
}

Mirror::Answer Mirror::ManifestFromStore(const Call& call) {
  const Digest& digest = *call.path.digest;
  auto blob = options_.blobs.Open(digest);
  if (!blob.ok()) return std::nullopt;
  auto body = ReadWhole(**blob, oci::kMaxManifestBytes);
  if (!body.ok()) return std::nullopt;
  const auto media_type = oci::DocumentMediaType(*body, "");
  if (!media_type.ok()) return std::nullopt;  // no manifest, or of a kind that is not ours to judge
  net::ServerResponse answer;
  answer.headers.Set(kDigestHeader, digest.ToString());
  answer.headers.Set("Content-Type", *media_type);
  answer.headers.Set("ETag", ETagOf(digest));
  answer.content_length = body->size();
  if (Matches(call.request.headers.Get("If-None-Match"), digest)) {
    answer.status = 304;
    return answer;
  }
  if (!call.head()) KeepManifest(call, *body, *media_type, digest);
  answer.body = *std::move(body);
  return answer;
}

// --- blobs ---

void Mirror::HandleBlob(Call& call) {
  Answer refusal;
  const std::optional<uint64_t> size_bytes = BlobSize(call, refusal);
  if (!size_bytes) return call.respond(*std::move(refusal));
  const Digest& digest = *call.path.digest;
  auto stored = options_.blobs.Open(digest);
  if (stored.ok()) return SendBlob(call, *std::move(stored), nullptr);
  if (call.head()) {
    net::ServerResponse answer;
    answer.headers.Set(kDigestHeader, digest.ToString());
    answer.headers.Set("Content-Type", "application/octet-stream");
    answer.headers.Set("Accept-Ranges", "bytes");
    answer.headers.Set("ETag", ETagOf(digest));
    answer.content_length = *size_bytes;
    return call.respond(std::move(answer));
  }
  // What just failed for us fails again: containerd is better off at the origin, and must not get
  // bytes of which some were wrong the last time.
  if (const Status failure = options_.swarm.RecentFailure(digest); !failure.ok()) {
    return call.respond(ErrorAnswer(Unavailable(failure.message())));
  }
  auto share =
      options_.swarm.Fetch({.digest = digest, .size_bytes = *size_bytes, .origins = {call.access}});
  if (!share.ok()) {
    LOG_WARNING("blob cannot be fetched", {{"digest", digest.ToString()},
                                           {"registry", call.path.registry},
                                           {"error", share.status()}});
    return call.respond(ErrorAnswer(Unavailable(share.status().message())));
  }
  SendBlob(call, (*share)->blob(), *share);
}

std::optional<uint64_t> Mirror::BlobSize(const Call& call, Answer& refusal) {
  const std::optional<uint64_t> seen = seen_.Find(call.access, *call.path.digest);
  if (seen && access_.Allows(call.access)) return seen;
  const auto origin = AskOrigin(call);
  if (origin.ok() && origin->status == 200) {
    const auto length = net::ContentLength(origin->headers);
    if (length) {
      seen_.Add(call.access, *call.path.digest, *length);
      return length;
    }
    if (seen) return seen;
    refusal = ErrorAnswer(Unavailable("the registry does not say how long the blob is"));
    return std::nullopt;
  }
  const bool origin_down = !origin.ok() || origin->status >= 500;
  if (origin_down && seen && access_.AllowsOffline(call.access)) return seen;
  refusal = origin.ok() ? ForwardedAnswer(*origin, call.head()) : ErrorAnswer(origin.status());
  if (!call.head()) refusal->content_length.reset();
  return std::nullopt;
}

void Mirror::SendBlob(Call& call, std::shared_ptr<store::Blob> blob,
                      std::shared_ptr<p2p::Fetch> share) {
  const net::HttpHeaders& asked = call.request.headers;
  const uint64_t total_bytes = blob->size_bytes();
  net::ServerResponse answer;
  answer.headers.Set(kDigestHeader, blob->digest().ToString());
  answer.headers.Set("ETag", ETagOf(blob->digest()));
  answer.headers.Set("Accept-Ranges", "bytes");
  if (Matches(asked.Get("If-None-Match"), blob->digest())) {
    answer.status = 304;
    return call.respond(std::move(answer));
  }
  answer.headers.Set("Content-Type", "application/octet-stream");

  const std::string_view if_range = asked.Get("If-Range");
  const bool ranges_hold = if_range.empty() || if_range == ETagOf(blob->digest());
  const auto range = ByteRange::Parse(ranges_hold ? asked.Get("Range") : "", total_bytes);
  if (!range.ok()) {
    answer.status = 416;
    answer.headers.Set("Content-Range", "bytes */" + std::to_string(total_bytes));
    return call.respond(std::move(answer));
  }
  const ByteRange part = range->value_or(ByteRange{0, total_bytes});
  if (range->has_value()) {
    answer.status = 206;
    answer.headers.Set("Content-Range", part.ContentRange(total_bytes));
  }
  answer.content_length = part.size_bytes();
  if (call.head()) return call.respond(std::move(answer));

  auto body = std::make_shared<BlobBody>(std::move(blob), std::move(share), part,
                                         BlobBody::Options{.timers = options_.timers,
                                                           .stall_timeout = options_.stall_timeout,
                                                           .head_timeout = options_.head_timeout});
  answer.body = body;
  // Headers wait for the first byte: before it, containerd can still be sent to the origin.
  body->WhenReady([answer = std::move(answer), respond = std::move(call.respond)](Status status) {
    respond(status.ok() ? answer : ErrorAnswer(Unavailable(status.message())));
  });
}

}  // namespace hearth::plugin
