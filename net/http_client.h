// HttpClient: HTTP requests over libcurl's multi interface, one loop thread for all transfers.
//
// HTTP/1.1, TLS ≥ 1.2, proxies from the environment (HTTPS_PROXY, NO_PROXY …; see proxy.h),
// connection reuse, unix sockets. Not HTTP/2: a paused stream would hold its whole window, tens of
// MiB, in memory. Any thread may call; callbacks run on the loop thread and must not block for long
// (no hashing there). Destroy it after all transfers ended, never from a callback; what still runs
// is then cancelled.
#pragma once

#include <sys/socket.h>

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <stop_token>
#include <string>
#include <string_view>

#include "base/status.h"
#include "net/http.h"
#include "net/tls.h"

namespace hearth::net {

// A body that comes slower than kLowSpeedBytes in kLowSpeedWindow is not waited for.
inline constexpr uint64_t kLowSpeedBytes = 32 * 1024;
inline constexpr std::chrono::milliseconds kLowSpeedWindow{30'000};
// The total_timeout of a document (a manifest, a token): whoever fetches it holds a thread.
inline constexpr std::chrono::milliseconds kDocumentTimeout{20'000};

struct HttpRequest {
  std::string method = "GET";
  std::string url;  // http:// or https://
  // Authorization, Cookie and Host are not sent on by a redirect to another scheme, host or port.
  HttpHeaders headers;
  std::string body;
  std::string unix_socket;  // path; "" = TCP
  std::string ca_file;      // PEM; "" = the system's, or SSL_CERT_FILE and SSL_CERT_DIR
  // Set: TLS 1.3 with this certificate, to whoever has a certificate that leads to `ca_pem` and the
  // URI name `peer_uri`, whatever the host is called. No redirects, no proxy.
  std::shared_ptr<const TlsIdentity> tls = nullptr;
  std::string peer_uri;
  std::string connect_to;  // "HOST:PORT" that is connected to in place of the URL's; "" = that
  int max_redirects = 0;   // 0 = a 3xx is an answer like another
  // Asks for the body as it is, and decodes what is encoded all the same (gzip and what else
  // libcurl knows). Of such an answer the head lacks Content-Encoding and Content-Length, which
  // would be of the encoded bytes. Not for ranges. Without it nothing is asked for and nothing
  // decoded.
  bool decode = false;
  // Connects anew and closes the connection afterwards: proves that the server still accepts.
  bool fresh_connection = false;
  // Each of these ends the transfer with kDeadlineExceeded. No byte for so long, at any stage:
  std::chrono::milliseconds stall_timeout{10'000};
  std::chrono::milliseconds connect_timeout{10'000};
  // No byte of a body that has begun for so long; 0 = as stall_timeout.
  std::chrono::milliseconds body_stall_timeout{0};
  // Not whole after so long, from Start() on, over all hops and pauses; 0 = no limit.
  std::chrono::milliseconds total_timeout{0};
  // Fewer bytes than this, of heads and bodies, in a window without a pause; no window = no limit.
  // What ends within its first window may be as slow as it likes.
  uint64_t low_speed_bytes = kLowSpeedBytes;
  std::chrono::milliseconds low_speed_window{0};
};

struct HttpResponseHead {
  int status = 0;
  HttpHeaders headers;  // of the last hop
  std::string effective_url;
};

// What a streaming transfer tells its owner, on the loop thread, in this order.
class HttpTransferHandler {
 public:
  virtual ~HttpTransferHandler() = default;
  // Once, of the final hop. An error ends the transfer with that status.
  virtual Status OnHead(const HttpResponseHead& head) = 0;
  enum class Flow { kGoOn, kPause };
  // Body bytes. kPause: they were not taken and come again after HttpTransfer::Resume(). An error
  // ends the transfer with that status.
  virtual Result<Flow> OnData(std::string_view data) = 0;
  // After OnData, which gets at most 16 KiB at a time: no more is there right now. For who gathers
  // bytes, to hand them on. Not after the last ones. An error ends the transfer with that status.
  virtual Status OnDrained() { return OkStatus(); }
  // Exactly once, last. OK = the whole body arrived as announced (one with neither length nor
  // chunks ends wherever the connection ends). kUnavailable: connection or truncation;
  // kDeadlineExceeded: silent or too slow; kCancelled: Cancel() or the stop token;
  // kPermissionDenied: address refused.
  virtual void OnDone(const Status& status) = 0;
};

// Handle of a transfer under way; dropping it does not cancel.
class HttpTransfer {
 public:
  virtual ~HttpTransfer() = default;
  virtual void Resume() = 0;
  virtual void Cancel() = 0;
};

struct HttpResponse {
  int status = 0;
  HttpHeaders headers;
  std::string body;
  std::string effective_url;
};

class HttpClient {
 public:
  struct Options {
    // In all, paused ones too. More transfers wait: 4,096 of them for 5 minutes at most, then
    // kResourceExhausted.
    size_t max_connections = 64;
    size_t receive_buffer_bytes = 512 * 1024;
    std::string user_agent = "hearth";
    // Asked with each address before it is connected to, on every hop; an error refuses it. Null
    // allows all. `host` is the name from the URL. Where a proxy makes the connection, its own
    // address is not asked for, and `address` is AF_UNSPEC, with the port at its place, unless
    // `host` is an address itself.
    std::function<Status(const std::string& host, const sockaddr& address)> check_address;
  };
  static Result<std::unique_ptr<HttpClient>> Create(Options options);
  virtual ~HttpClient() = default;

  // Starts a transfer; `handler` is kept until OnDone returned.
  virtual std::shared_ptr<HttpTransfer> Start(HttpRequest request,
                                              std::shared_ptr<HttpTransferHandler> handler) = 0;

  // Blocks until the whole answer is there, for kDocumentTimeout where the request has no
  // total_timeout. Never call it from the loop thread. Any HTTP status is
  // an OK result; errors are those of OnDone, and kResourceExhausted for a body over the limit.
  Result<HttpResponse> Fetch(HttpRequest request, uint64_t max_body_bytes,
                             std::stop_token stop = {});
};

}  // namespace hearth::net
