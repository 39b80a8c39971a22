// HttpServer: HTTP/1.1 on loopback TCP or a unix socket, with bodies sent from files by
// sendfile(2).
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

namespace hearth::net {

struct ServerRequest {
  std::string method;
  std::string target;  // as sent; may be absolute-form for a proxy request
  std::string path;    // percent-encoded path of the target, without query
  std::string query;   // without '?'
  HttpHeaders headers;
  std::string body;             // at most Options::max_body_bytes
  std::stop_token client_gone;  // requested when the client closed or the server stops
};

// The next stretch of a body.
struct BodyChunk {
  std::string data;                // sent as it is …
  std::shared_ptr<const Fd> file;  // … or, where set, `size_bytes` from `offset_bytes` of it
  uint64_t offset_bytes = 0;
  uint64_t size_bytes = 0;
  bool last = false;  // nothing follows this chunk
};

// A body that comes over time. Next() is called again only after its callback was answered and the
// chunk was sent. An error closes the connection in mid-body, so that the client sees truncation.
class BodySource {
 public:
  virtual ~BodySource() = default;
  // `ready` is called once, from any thread, also directly.
  virtual void Next(std::function<void(Result<BodyChunk>)> ready) = 0;
};

struct ServerResponse {
  int status = 200;
  HttpHeaders headers;
  std::variant<std::string, std::shared_ptr<BodySource>> body;
  // For a BodySource: Content-Length; without it the body is chunked. Ignored for strings, except
  // in an answer to HEAD, where it is the length that GET would have.
  std::optional<uint64_t> content_length;
};

class HttpServer {
 public:
  using Respond = std::function<void(ServerResponse)>;
  using Handler = std::function<void(ServerRequest, Respond)>;
  struct Options {
    std::string listen;  // "127.0.0.1:7733", port 0 = any; or "unix:/run/hearth/admin.sock"
    mode_t unix_mode = 0600;
    size_t io_threads = 1;
    size_t handler_threads = 4;
    size_t max_connections = 256;  // further ones wait in the listen queue
    uint64_t max_body_bytes = 1024 * 1024;
    uint64_t max_header_bytes = 32 * 1024;
    std::chrono::seconds idle_timeout{60};  // between requests; and no progress of a send
  };
  // Binds and starts. kAlreadyExists when the address is in use.
  static Result<std::unique_ptr<HttpServer>> Start(Options options, Handler handler);
  virtual ~HttpServer() = default;
  // "127.0.0.1:40123" or the unix path: where it really listens.
  virtual std::string address() const = 0;
  // Stops accepting, lets running answers end until `grace`, then closes. Idempotent.
  virtual void Stop(std::chrono::milliseconds grace) = 0;
};

}  // namespace hearth::net
