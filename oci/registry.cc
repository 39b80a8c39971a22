#include "oci/registry.h"

#include <utility>

#include "net/http.h"
#include "oci/manifest.h"
#include "oci/media_type.h"
#include "oci/reference.h"
#include "oci/registry_call.h"

namespace hearth::oci {

namespace {

// A tag, or a digest that was read.
struct Object {
  std::string text;
  std::optional<Digest> digest;
};

Result<Object> ParseObject(const std::string& text) {
  if (IsTag(text)) return Object{text, std::nullopt};
  if (text.find(':') == std::string::npos) {
    return InvalidArgument("\"" + text.substr(0, 100) + "\" is neither a tag nor a digest");
  }
  return Object{text, TRY(Digest::Parse(text))};
}

// Docker-Content-Digest where it is there and of a kind that we keep.
std::optional<Digest> NamedDigest(const net::HttpHeaders& headers) {
  const auto digest = Digest::Parse(headers.Get("Docker-Content-Digest"));
  if (!digest.ok()) return std::nullopt;
  return digest.value();
}

Outcome Done() { return {}; }

// An answer that is wrong.
Outcome Wrong(Status status) {
  Outcome outcome;
  outcome.status = std::move(status);
  outcome.http_status = 200;
  return outcome;
}

Result<ManifestAnswer> CheckManifest(net::HttpResponse answer, const Object& object) {
  ManifestAnswer manifest;
  manifest.digest = Digest::Of(answer.body);
  if (object.digest && *object.digest != manifest.digest) {
    return DataLoss("the registry sent other bytes, whose digest is " + manifest.digest.ToString());
  }
  const auto named = NamedDigest(answer.headers);
  if (named && *named != manifest.digest) {
    return DataLoss("the registry says " + named->ToString() + " but sent bytes of " +
                    manifest.digest.ToString());
  }
  manifest.media_type = TRY(DocumentMediaType(answer.body, answer.headers.Get("Content-Type")));
  manifest.bytes = std::move(answer.body);
  return manifest;
}

// nullopt where the HEAD left something out.
Result<std::optional<Descriptor>> DescriptorOf(const net::HttpHeaders& headers,
                                               const Object& object) {
  const auto named = NamedDigest(headers);
  const auto size_bytes = net::ContentLength(headers);
  const std::string media_type(WithoutParameters(headers.Get("Content-Type")));
  if (object.digest && named && *named != *object.digest) {
    return DataLoss("the registry says it is " + named->ToString());
  }
  if (IsSchema1Type(media_type)) return DocumentMediaType("", media_type).status();
  if (!named || !size_bytes || (!IsIndexType(media_type) && !IsManifestType(media_type))) {
    return std::optional<Descriptor>();
  }
  Descriptor descriptor;
  descriptor.media_type = media_type;
  descriptor.digest = *named;
  descriptor.size_bytes = *size_bytes;
  return std::optional<Descriptor>(std::move(descriptor));
}

}  // namespace

Registry::Registry(net::HttpClient& client, const Clock& clock, Options options)
    : client_(client),
      clock_(clock),
      options_(std::move(options)),
      authorizer_(client, clock,
                  Authorizer::Options{.stall_timeout = options_.stall_timeout,
                                      .document_timeout = options_.document_timeout}),
      health_({.clock = clock}) {}

Result<RegistryHost> Registry::HostFor(const std::string& domain) const {
  if (!options_.host) return RegistryHost();
  return options_.host(NormalizeDomain(domain));
}

Result<ManifestAnswer> Registry::GetManifest(const Access& access, const std::string& object_text,
                                             std::stop_token stop) {
  const Object object = TRY(ParseObject(object_text));
  RegistryCall call(*this, access, {.method = "GET", .path = "manifests/" + object.text}, stop);
  ManifestAnswer manifest;
  TRY_STATUS(call.Run([&](const Route& route, net::HttpRequest request) {
    request.headers.Set("Accept", std::string(ManifestAccept()));
    auto answer = client_.Fetch(std::move(request), kMaxManifestBytes, stop);
    if (!answer.ok()) return Outcome::NoAnswer(answer.status());
    if (answer->status != 200) return call.Failure(route, *answer);
    auto checked = CheckManifest(*std::move(answer), object);
    if (!checked.ok()) return Wrong(checked.status());
    manifest = *std::move(checked);
    return Done();
  }));
  return manifest;
}

Result<Descriptor> Registry::HeadManifest(const Access& access, const std::string& object_text,
                                          std::stop_token stop) {
  const Object object = TRY(ParseObject(object_text));
  RegistryCall call(*this, access, {.method = "HEAD", .path = "manifests/" + object.text}, stop);
  std::optional<Descriptor> descriptor;
  TRY_STATUS(call.Run([&](const Route& route, net::HttpRequest request) {
    request.headers.Set("Accept", std::string(ManifestAccept()));
    auto answer = client_.Fetch(std::move(request), kMaxManifestBytes, stop);
    if (!answer.ok()) return Outcome::NoAnswer(answer.status());
    if (answer->status == 405) return Done();
    if (answer->status != 200) return call.Failure(route, *answer);
    auto read = DescriptorOf(answer->headers, object);
    if (!read.ok()) return Wrong(read.status());
    descriptor = *std::move(read);
    return Done();
  }));
  if (descriptor) return *std::move(descriptor);
  const ManifestAnswer manifest = TRY(GetManifest(access, object_text, std::move(stop)));
  Descriptor from_body;
  from_body.media_type = manifest.media_type;
  from_body.digest = manifest.digest;
  from_body.size_bytes = manifest.bytes.size();
  return from_body;
}

Result<BlobHead> Registry::HeadBlob(const Access& access, const Digest& digest,
                                    std::stop_token stop) {
  RegistryCall call(*this, access, {.method = "HEAD", .path = "blobs/" + digest.ToString()}, stop);
  BlobHead head;
  TRY_STATUS(call.Run([&](const Route& route, net::HttpRequest request) {
    auto answer = client_.Fetch(std::move(request), kMaxManifestBytes, stop);
    if (!answer.ok()) return Outcome::NoAnswer(answer.status());
    if (answer->status != 200) return call.Failure(route, *answer);
    head.size_bytes = net::ContentLength(answer->headers);
    return Done();
  }));
  return head;
}

}  // namespace hearth::oci
