#include "plugin/mirror.h"

#include <utility>

#include "base/log.h"
#include "oci/challenge.h"
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

// Nobody answered, or somebody who has trouble of his own.
bool IsDown(const Result<net::HttpResponse>& origin) {
  if (origin.ok()) return origin->status >= 500;
  const StatusCode code = origin.status().code();
  return code == StatusCode::kUnavailable || code == StatusCode::kDeadlineExceeded;
}

// The Basic challenge among those of a 401; "" where there is none.
std::string BasicChallenge(const net::HttpHeaders& headers) {
  for (const std::string_view value : headers.GetAll("WWW-Authenticate")) {
    for (const oci::Challenge& challenge : oci::ParseChallenges({value})) {
      if (challenge.scheme == "basic") return std::string(value);
    }
  }
  return "";
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
  // What came of it and why, for whoever looks for a miss. Credentials stay out.
  void Decided(std::string_view decision, std::string_view why = "") const {
    LOG_DEBUG("mirror", {{"decision", decision},
                         {"method", request.method},
                         {"path", request.path},
                         {"registry", path.registry},
                         {"why", why}});
  }
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
  if (!path.ok()) {
    LOG_DEBUG("mirror", {{"decision", "refused"},
                         {"method", request.method},
                         {"path", request.path},
                         {"why", path.status()}});
    return respond(ErrorAnswer(path.status()));
  }
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

Result<net::HttpResponse> Mirror::AskOrigin(const Call& call, const std::string& method) {
  oci::Registry::ForwardRequest forward{
      .access = call.access, .method = method, .path = call.path.ObjectPath(), .headers = {}};
  for (const char* name : {"Accept", "If-None-Match"}) {
    for (const std::string_view value : call.request.headers.GetAll(name)) {
      forward.headers.Add(name, std::string(value));
    }
  }
  if (call.path.kind == MirrorPath::Kind::kBlob) forward.headers.Remove("If-None-Match");
  auto answer = options_.registry.Forward(forward, call.request.client_gone);
  if (!answer.ok()) {
    LOG_WARNING(
        "origin cannot be asked",
        {{"registry", call.path.registry}, {"path", forward.path}, {"error", answer.status()}});
    return answer;
  }
  LOG_DEBUG("asked the origin",
            {{"registry", call.path.registry},
             {"method", forward.method},
             {"path", forward.path},
             {"status", answer->status},
             {"with_credentials", !call.access.authorization.Reveal().empty()}});
  if (answer->status == 200 || answer->status == 304) access_.Grant(call.access);
  if (answer->status == 401 || answer->status == 403) {
    access_.Revoke(call.access, answer->status == 401 ? BasicChallenge(answer->headers) : "");
  }
  return answer;
}

// --- manifests ---

net::ServerResponse Mirror::HandleManifest(const Call& call) {
  const bool known = call.path.digest && seen_.Find(call.access, *call.path.digest);
  if (known && access_.Allows(call.access)) {
    if (Answer answer = ManifestFromStore(call, *call.path.digest)) {
      call.Decided("from the store");
      return *std::move(answer);
    }
  }
  auto origin = AskOrigin(call, call.request.method);
  // The size must be right, and some (proxies that compress) do not say it: then the bytes tell.
  if (call.head() && origin.ok() && origin->status == 200 && !net::ContentLength(origin->headers)) {
    origin = AskOrigin(call, "GET");
  }
  if (IsDown(origin)) {
    if (Answer answer = OfflineManifest(call)) {
      call.Decided(answer->status == 401 ? "challenge from memory" : "from the store",
                   "the origin cannot be asked");
      return *std::move(answer);
    }
  } else if (origin.ok()) {
    if (origin->status == 404 && !call.path.digest) tags_.Forget(call.access, call.path.object);
    return AnswerManifest(call, *origin);
  }
  call.Decided("no answer",
               "the origin cannot be asked, and it is not in the store or not allowed");
  return origin.ok() ? ForwardedAnswer(*origin, call.head()) : ErrorAnswer(origin.status());
}

Mirror::Answer Mirror::OfflineManifest(const Call& call) {
  if (!access_.AllowsOffline(call.access)) return OfflineChallenge(call);
  if (call.path.digest) {
    if (!seen_.Find(call.access, *call.path.digest)) return std::nullopt;
    return ManifestFromStore(call, *call.path.digest);
  }
  if (!options_.serve_stale_tags) return std::nullopt;
  const auto last = tags_.Find(call.access, call.path.object);
  if (!last) return std::nullopt;
  Answer answer = ManifestFromStore(call, *last);
  if (!answer) return std::nullopt;
  answer->headers.Set("Warning", "110 hearth \"Response is Stale\"");
  if (answer->content_length) seen_.Add(call.access, *last, *answer->content_length);
  LOG_WARNING("tag answered from memory, its registry is down",
              {{"registry", call.path.registry},
               {"repository", call.path.repository},
               {"tag", call.path.object},
               {"digest", last->ToString()}});
  return answer;
}

Mirror::Answer Mirror::OfflineChallenge(const Call& call) const {
  const std::string challenge = access_.ChallengeOffline(call.access);
  if (challenge.empty()) return std::nullopt;
  net::ServerResponse answer =
      ErrorAnswer(Unavailable("the registry is down; its challenge is answered from memory"));
  answer.status = 401;
  answer.headers.Set("WWW-Authenticate", challenge);
  return answer;
}

void Mirror::OnResolved(const oci::Access& origin, const std::string& tag,
                        const oci::Descriptor& target) {
  tags_.Note(origin, tag, target.digest);
  seen_.Add(origin, target.digest, target.size_bytes);
  if (options_.registry.ServesAnyone(origin.registry)) access_.Grant(origin);
}

net::ServerResponse Mirror::AnswerManifest(const Call& call, const net::HttpResponse& origin) {
  net::ServerResponse answer = ForwardedAnswer(origin, call.head());
  call.Decided("as the origin says", origin.status == 200 ? "" : "its status is not 200");
  if (origin.status != 200) return answer;
  const auto named = Digest::Parse(origin.headers.Get(kDigestHeader));
  if (call.head() && origin.body.empty()) {
    const auto length = net::ContentLength(origin.headers);
    if (named.ok() && length) seen_.Add(call.access, *named, *length);
    if (named.ok() && !call.path.digest) tags_.Note(call.access, call.path.object, *named);
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
  answer.content_length = origin.body.size();
  if (!call.path.digest) tags_.Note(call.access, call.path.object, digest);
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

Mirror::Answer Mirror::ManifestFromStore(const Call& call, const Digest& digest) {
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
  if (stored.ok()) {
    call.Decided("from the store");
    return SendBlob(call, *std::move(stored), nullptr);
  }
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
    call.Decided("left to the origin", failure.message());
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
  call.Decided("while it is fetched", stored.status().message());
  SendBlob(call, (*share)->blob(), *share);
}

std::optional<uint64_t> Mirror::BlobSize(const Call& call, Answer& refusal) {
  const std::optional<uint64_t> seen = seen_.Find(call.access, *call.path.digest);
  if (seen && access_.Allows(call.access)) return seen;
  const auto origin = AskOrigin(call, "HEAD");
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
  if (IsDown(origin) && seen) {
    if (access_.AllowsOffline(call.access)) return seen;
    if ((refusal = OfflineChallenge(call))) {
      call.Decided("challenge from memory", "the origin cannot be asked");
      return std::nullopt;
    }
  }
  call.Decided("refused",
               origin.ok() ? "the origin does not say yes" : "the origin cannot be asked");
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
