// HttpServer: HTTP/1.1 on TCP, with or without TLS, or on a unix socket; bodies of files are sent
// by sendfile(2) where there is no TLS.
//
// Requests are parsed on one or two I/O threads and handed to `Handler` on the server's own bounded
// pool; the handler may block there for short file or network calls, and answers by calling
// `respond` once, from any thread. Long waits belong into a BodySource, which holds no thread.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <variant>

#include "base/file.h"
#include "base/status.h"
#include "net/http.h"
#include "net/tls.h"

namespace hearth::net {

struct ServerRequest {
  std::string method;
  std::string target;  // as sent; may be absolute-form for a proxy request
  std::string path;    // percent-encoded path of the target, without query
  std::string query;   // without '?'
  HttpHeaders headers;
  std::string body;  // at most Options::max_body_bytes
  // Requested when the client closed (its sending half counts) or the server closes the connection.
  // Its callbacks run on an I/O thread.
  std::stop_token client_gone;
  // Under TLS with client certificates: whose this connection is.
  std::shared_ptr<const TlsPeer> peer = nullptr;
  std::string remote = {};  // the client's address, without its port; empty on unix sockets
};

// The next stretch of a body.
struct BodyChunk {
  // At most so much of a file at once: one sendfile keeps an I/O thread busy meanwhile.
  static constexpr uint64_t kMaxFileBytes = 4 * 1024 * 1024;

  std::string data;                // sent as it is …
  std::shared_ptr<const Fd> file;  // … or, where set, `size_bytes` from `offset_bytes` of it
  uint64_t offset_bytes = 0;
  uint64_t size_bytes = 0;
  bool last = false;  // nothing follows this chunk
};

// A body that comes over time. Next() is called again only after its callback was answered and the
// chunk was sent. An error, or a length other than announced, closes the connection in mid-body, so
// that the client sees truncation. The source is dropped when the client is gone.
class BodySource {
 public:
  virtual ~BodySource() = default;
  // On an I/O thread: start the work and return. `ready` is called once, from any thread, also
  // directly; dropping it uncalled counts as an error.
  virtual void Next(std::function<void(Result<BodyChunk>)> ready) = 0;
};

struct ServerResponse {
  int status = 200;
  HttpHeaders headers;
  std::variant<std::string, std::shared_ptr<BodySource>> body;
  // For a BodySource: Content-Length; without it the body is chunked. Ignored for strings, except
  // in an answer to HEAD, where it is the length that GET would have.
  std::optional<uint64_t> content_length;
  // Only for CONNECT: a connected socket. The client gets 200 and from then on bytes go both ways,
  // unread by anybody, until both sides have closed or nothing moved for tunnel_idle_timeout.
  std::shared_ptr<Fd> tunnel = nullptr;
};

class HttpServer {
 public:
  // Of a file under TLS, read and sent at once; each connection that sends holds so much.
  static constexpr size_t kTlsChunkBytes = 256 * 1024;
  static constexpr std::chrono::milliseconds kHandshakeTimeout{10'000};

  // Called once, from any thread, also after the client or the server is gone; dropping the last
  // copy uncalled answers 500.
  using Respond = std::function<void(ServerResponse)>;
  using Handler = std::function<void(ServerRequest, Respond)>;
  struct Options {
    std::string listen;  // "127.0.0.1:7733", port 0 = any; or "unix:/run/hearth/admin.sock"
    // Set: every connection is TLS 1.3 with this identity. There is no CONNECT then.
    TlsIdentitySource tls = nullptr;
    mode_t unix_mode = 0600;
    size_t io_threads = 1;
    size_t handler_threads = 4;
    size_t handler_queue = 256;  // requests that wait for a handler thread; further ones get 503
    // Further ones wait in the listen queue; connections that are kept alive unused give way.
    size_t max_connections = 256;
    uint64_t max_body_bytes = 1024 * 1024;
    uint64_t max_header_bytes = 32 * 1024;
    // Between requests, for a whole request to arrive, and without progress of a send (under TLS:
    // for each kTlsChunkBytes of it, so that who reads byte by byte is cut off).
    std::chrono::milliseconds idle_timeout{60'000};
    std::chrono::milliseconds tunnel_idle_timeout{300'000};
  };
  // Binds and starts. Errors are those of Listen() in listener.h.
  static Result<std::unique_ptr<HttpServer>> Start(Options options, Handler handler);
  virtual ~HttpServer() = default;
  // "127.0.0.1:40123" or "unix:/path": where it really listens.
  virtual std::string address() const = 0;
  // Stops accepting, lets running answers end until `grace`, then closes. Idempotent; not from a
  // handler. The destructor stops at once and waits for handlers that run.
  virtual void Stop(std::chrono::milliseconds grace) = 0;
};

}  // namespace hearth::net
