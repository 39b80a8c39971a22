// Registry: client of the distribution API (/v2/), for all registries.
//
// Any thread but the HTTP client's loop may call; calls block, each wait is bounded. Errors name
// registry, repository, object and HTTP status, and say what to do.
//   kNotFound            404
//   kUnauthenticated     401 after an answered challenge, or no credential for it
//   kPermissionDenied    403, or an address that may not be reached
//   kResourceExhausted   429 until the attempts were used up, or a document over the limit
//   kUnavailable         connection, truncation, 5xx until the attempts were used up
//   kDeadlineExceeded    silent or too slow; who asks again waits as long again
//   kDataLoss            bytes that are not what their digest or size says
//   kCancelled           the stop token
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/digest.h"
#include "base/log.h"
#include "base/status.h"
#include "net/http_client.h"
#include "oci/auth.h"
#include "oci/credentials.h"
#include "oci/descriptor.h"
#include "oci/endpoint_health.h"

namespace hearth::oci {

// How one registry is reached.
struct RegistryHost {
  std::optional<bool> plain_http = std::nullopt;  // nullopt = loopback hosts are, others not
  std::string ca_file;                            // PEM; "" = the system's trust store
  std::vector<std::string> endpoints;  // "https://mirror.example.com": asked first, in order
  Credential credential;               // the node's own
  bool shared = false;                 // it may serve whoever sends none of his own
};

// What is asked for, and as whom.
struct Access {
  std::string registry;    // domain of the reference: "docker.io", "127.0.0.1:5000"
  std::string repository;  // "library/nginx"
  // A caller's own Authorization header, used as it is instead of the node's credential. It goes to
  // the registry itself only, never to an endpoint, a realm or a redirect's other host. Blobs still
  // come from the endpoints, as the node: whoever names a header here has seen the registry accept
  // it for that blob.
  Secret<std::string> authorization = {};
  // A caller's own login: it answers the registry's challenges in place of the node's credential,
  // and goes to no endpoint.
  Credential credential = {};
  // Whether the caller reaches the registry without TLS, where the node's settings do not say.
  std::optional<bool> plain_http = std::nullopt;
  friend bool operator==(const Access&, const Access&) = default;
};

struct ManifestAnswer {
  std::string bytes;
  std::string media_type;  // of a manifest or index
  Digest digest;           // of `bytes`
};

struct BlobRequest {
  Digest digest;
  uint64_t offset_bytes = 0;  // first byte that the sink wants
  // Of the whole blob where known, from its descriptor.
  std::optional<uint64_t> size_bytes = std::nullopt;
  // Where what is wanted ends; wants `size_bytes`. kUnimplemented: the registry sends the whole
  // blob whatever range it is asked for.
  std::optional<uint64_t> end_bytes = std::nullopt;
};

// Takes a blob's bytes, on the HTTP client's loop thread: writes may block there as a pwrite does,
// hashing and waiting may not. An error ends the fetch with that status, without a retry.
class BlobSink {
 public:
  virtual ~BlobSink() = default;
  // Once, before the first byte: size of the whole blob, nullopt where nobody says.
  virtual Status OnStart(std::optional<uint64_t> total_size_bytes) = 0;
  // Asked before bytes of an OnData() are taken off the network. False: they are held back until
  // `resume` was called, from any thread.
  virtual bool Ready(std::function<void()> resume) {
    (void)resume;
    return true;
  }
  // Bytes in order, without gap or overlap over all retries; 256 KiB at once where they come fast.
  virtual Status OnData(std::string_view data) = 0;
};

struct BlobHead {
  std::optional<uint64_t> size_bytes;
};

class Registry {
 public:
  struct Options {
    // Asked with a domain for each request; null = defaults for all.
    std::function<Result<RegistryHost>(const std::string& domain)> host;
    int max_attempts = 4;  // without progress
    // An attempt that brings less of a blob counts as one without: an origin that gives some bytes
    // and stalls, each time anew, must not be waited for without end.
    uint64_t least_progress_bytes = 256 * 1024;
    std::chrono::milliseconds first_backoff{500};
    std::chrono::milliseconds max_backoff{10'000};
    std::chrono::milliseconds max_retry_after{30'000};  // a longer Retry-After is cut to this
    // No byte for so long, over all attempts that are not quick failures, ends a call.
    std::chrono::milliseconds stall_timeout{10'000};
    std::chrono::milliseconds connect_timeout{10'000};
    // A manifest, a token or an answer to a HEAD is whole by then, with all redirects.
    std::chrono::milliseconds document_timeout = net::kDocumentTimeout;
    // A blob that brings fewer bytes in a window is no better than one that stalls.
    uint64_t low_speed_bytes = net::kLowSpeedBytes;
    std::chrono::milliseconds low_speed_window = net::kLowSpeedWindow;
    int max_redirects = 10;
  };
  // `client` and `clock` must outlive this.
  Registry(net::HttpClient& client, const Clock& clock, Options options);

  // `object` is a tag or a digest. The bytes are checked against the digest that was asked for and
  // the one that the registry names.
  Result<ManifestAnswer> GetManifest(const Access& access, const std::string& object,
                                     std::stop_token stop = {});
  // Without the body (a GET where the registry leaves digest, type or size out of its HEAD).
  Result<Descriptor> HeadManifest(const Access& access, const std::string& object,
                                  std::stop_token stop = {});
  Result<BlobHead> HeadBlob(const Access& access, const Digest& digest, std::stop_token stop = {});
  // Streams a blob from `offset_bytes` to its end; retries resume where the last attempt ended. The
  // length is checked here, the digest is the caller's to check. No call of the sink comes after
  // the return.
  Status FetchBlob(const Access& access, const BlobRequest& request, BlobSink& sink,
                   std::stop_token stop = {});

  // Whether anybody may have what the node itself reads there: it reads without a credential, or
  // with one that is shared. False where that cannot be told.
  bool ServesAnyone(const std::string& domain) const;

  // A caller's request as it is, with one try and no wait. With his Authorization it goes to the
  // registry itself only; without one to the endpoints too, and with the node's credential where
  // RegistryHost::shared says so. No challenge is answered with anything else, so that 401 and
  // WWW-Authenticate of the registry reach the caller; an endpoint's refusal does not.
  struct ForwardRequest {
    Access access;
    std::string method = "GET";  // or HEAD
    std::string path;            // behind "/v2/REPOSITORY/": "manifests/latest"
    net::HttpHeaders headers;    // only Accept, Range and If-None-Match are sent on
    uint64_t max_body_bytes = 4 * 1024 * 1024;
  };
  Result<net::HttpResponse> Forward(const ForwardRequest& request, std::stop_token stop = {});

 private:
  friend class RegistryCall;
  Result<RegistryHost> HostFor(const std::string& domain) const;

  net::HttpClient& client_;
  const Clock& clock_;
  const Options options_;
  Authorizer authorizer_;
  EndpointHealth health_;
};

}  // namespace hearth::oci
