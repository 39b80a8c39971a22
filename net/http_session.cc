#include "net/http_session.h"

#include <sys/sendfile.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <boost/beast/core/buffers_to_string.hpp>

#include "base/clock.h"
#include "base/log.h"
#include "net/http_head.h"
#include "net/http_tunnel.h"
#include "net/socket_name.h"

namespace hearth::net {

namespace {

using std::chrono::milliseconds;

constexpr size_t kWatchBytes = 4096;
constexpr size_t kMaxPipelinedBytes = 64 * 1024;  // read ahead while an answer is under way
constexpr size_t kSendfileStepBytes = 1024 * 1024;
constexpr milliseconds kLingerTime{2'000};  // for the client to read an answer before the close
// A callback for strangers that reports exactly once: what it is given, or `fallback` when it is
// dropped.
template <typename T>
class Once {
 public:
  Once(std::function<void(T)> to, T fallback)
      : to_(std::move(to)), fallback_(std::move(fallback)) {}
  ~Once() { Deliver(std::move(fallback_)); }
  Once(const Once&) = delete;
  Once& operator=(const Once&) = delete;
  void Deliver(T value) {
    if (!used_.exchange(true)) to_(std::move(value));
  }

 private:
  const std::function<void(T)> to_;
  T fallback_;
  std::atomic<bool> used_ = false;
};

ServerResponse TextAnswer(int status, std::string text) {
  ServerResponse response;
  response.status = status;
  response.headers = {{"Content-Type", "text/plain; charset=utf-8"}};
  response.body = std::move(text) + "\n";
  return response;
}

}  // namespace

Result<std::shared_ptr<SSL_CTX>> HttpServerCore::TlsContext() {
  auto identity = options.tls();
  if (!identity) return FailedPrecondition("there is no certificate yet");
  MutexLock lock(mutex);
  if (identity != tls_identity) {
    tls_context = TRY(MakeServerContext(*identity));
    tls_identity = std::move(identity);
  }
  return tls_context;
}

HttpSession::HttpSession(std::shared_ptr<HttpServerCore> core)
    : core_(std::move(core)),
      strand_(asio::make_strand(core_->io)),
      stream_(strand_),
      timer_(strand_) {}

HttpSession::~HttpSession() {
  {
    MutexLock lock(core_->mutex);
    core_->sessions.erase(this);
    core_->changed.NotifyAll();
  }
  core_->on_session_gone();
}

void HttpSession::Start(int fd, int family) {
  error_code error;
  stream_.socket().assign(asio::generic::stream_protocol(family, 0), fd, error);
  if (error) {
    ::close(fd);
    return;
  }
  stream_.socket().native_non_blocking(true, error);
  remote_ = PeerName(fd).host;
  asio::post(strand_, [self = shared_from_this()] {
    self->core_->options.tls ? self->Handshake() : self->AwaitRequest();
  });
}

void HttpSession::Handshake() {
  if (closed_) return;
  auto context = core_->TlsContext();
  if (!context.ok()) {
    LOG_WARNING("TLS connection refused", {{"error", context.status()}});
    return Close();
  }
  Arm(std::min(core_->options.idle_timeout, HttpServer::kHandshakeTimeout));
  stream_.Handshake(*std::move(context), [self = shared_from_this()](error_code error) {
    if (self->closed_) return;
    if (error) {
      LOG_DEBUG("TLS handshake failed", {{"error", error.message()}});
      return self->Close();
    }
    const std::unique_ptr<X509, decltype(&X509_free)> certificate(
        SSL_get1_peer_certificate(self->stream_.native_tls()), X509_free);
    if (certificate) self->peer_ = std::make_shared<const TlsPeer>(PeerOf(certificate.get()));
    self->AwaitRequest();
  });
}

void HttpSession::AwaitRequest() {
  if (closed_) return;
  if (core_->stopping) return Close();
  state_ = State::kIdle;
  if (core_->crowded) CloseIfSpare();
  if (closed_) return;
  Arm(core_->options.idle_timeout);
  if (watching_) {  // OnWatched() comes back here, at once where a request is there already
    if (buffer_.size() > 0) watch_cancel_.emit(asio::cancellation_type::all);
    return;
  }
  if (buffer_.size() == 0) buffer_.shrink_to_fit();
  parser_.emplace();
  parser_->header_limit(static_cast<uint32_t>(core_->options.max_header_bytes));
  parser_->body_limit(core_->options.max_body_bytes);
  http::async_read_header(
      stream_, buffer_, *parser_,
      [self = shared_from_this()](error_code error, size_t) { self->OnHead(error); });
}

void HttpSession::OnHead(error_code error) {
  if (closed_) return;
  if (error) return Refuse(error);
  state_ = State::kRequest;
  const auto& request = parser_->get();
  if (request.version() >= 11 && request.count(http::field::host) != 1) {
    return RefuseWith(400, "want exactly one Host field");
  }
  const auto expect = request[http::field::expect];
  if (expect.empty() || parser_->is_done()) return ReadBody();
  if (!boost::beast::iequals(expect, "100-continue")) {
    return RefuseWith(417, "only 100-continue can be expected");
  }
  static constexpr std::string_view kContinue = "HTTP/1.1 100 Continue\r\n\r\n";
  Write(asio::buffer(kContinue), [this] { ReadBody(); });
}

void HttpSession::ReadBody() {
  http::async_read(stream_, buffer_, *parser_,
                   [self = shared_from_this()](error_code error, size_t) {
                     if (self->closed_) return;
                     if (error) return self->Refuse(error);
                     self->Dispatch();
                   });
}

// Answers what is no request, where the client may still be there to read it.
void HttpSession::Refuse(error_code error) {
  const error_code of_http = make_error_code(http::error::bad_method);
  if (error == http::error::end_of_stream || error == http::error::partial_message ||
      error.category() != of_http.category()) {
    return Close();
  }
  if (error == http::error::header_limit) {
    return RefuseWith(431, "the header is larger than " +
                               std::to_string(core_->options.max_header_bytes) + " bytes");
  }
  if (error == http::error::body_limit) {
    return RefuseWith(
        413, "the body is larger than " + std::to_string(core_->options.max_body_bytes) + " bytes");
  }
  RefuseWith(400, "not an HTTP request: " + error.message());
}

// Ends the connection too, since nobody knows where a next request would start.
void HttpSession::RefuseWith(int status, std::string text) {
  parser_.reset();
  Answer(TextAnswer(status, std::move(text)));
}

void HttpSession::Dispatch() {
  Disarm();
  state_ = State::kHandling;
  served_ = true;
  gone_ = std::stop_source();
  auto& message = parser_->get();
  const auto request = std::make_shared<ServerRequest>();
  request->method = std::string(message.method_string());
  request->target = std::string(message.target());
  const Target target = SplitTarget(request->target);
  request->path = target.path;
  request->query = target.query;
  for (const auto& field : message) {
    request->headers.Add(std::string(field.name_string()), std::string(field.value()));
  }
  request->body = std::move(message.body());
  request->client_gone = gone_.get_token();
  request->peer = peer_;
  request->remote = remote_;
  const auto once = std::make_shared<Once<ServerResponse>>(
      [self = shared_from_this()](ServerResponse response) {
        self->core_->Post(self->strand_, [self, response = std::move(response)]() mutable {
          self->Answer(std::move(response));
        });
      },
      TextAnswer(500, "the request was not answered"));
  const Status queued = core_->pool->Submit([core = core_.get(), request, once] {
    try {
      core->handler(std::move(*request),
                    [once](ServerResponse response) { once->Deliver(std::move(response)); });
    } catch (const std::exception& error) {
      LOG_ERROR("HTTP handler threw", {{"what", error.what()}});
    }
  });
  if (!queued.ok()) once->Deliver(TextAnswer(503, "too many requests wait"));
  Watch();
}

// Reads while an answer is under way, which is how a client that leaves is noticed. What comes is
// the next request.
void HttpSession::Watch() {
  if (closed_ || watching_ || eof_ || buffer_.size() >= kMaxPipelinedBytes) return;
  watching_ = true;
  auto done = [self = shared_from_this()](error_code error, size_t bytes) {
    self->watching_ = false;
    self->buffer_.commit(bytes);
    self->OnWatched(error);
  };
  stream_.async_read_some(buffer_.prepare(kWatchBytes),
                          asio::bind_cancellation_slot(watch_cancel_.slot(), std::move(done)));
}

void HttpSession::OnWatched(error_code error) {
  if (closed_) return;
  if (state_ == State::kLinger) buffer_.clear();
  if (state_ == State::kTunnel) return StartTunnel();
  if (error && error != asio::error::operation_aborted) {
    eof_ = true;
    gone_.request_stop();
    const bool answering = state_ == State::kHandling || state_ == State::kSending;
    if (!answering) Close();
  } else if (state_ == State::kIdle) {
    AwaitRequest();
  } else {
    Watch();
  }
}

void HttpSession::Answer(ServerResponse response) {
  if (closed_) return;
  state_ = State::kSending;
  if (response.tunnel && stream_.is_tls()) {
    response = TextAnswer(501, "there is no CONNECT under TLS");
  }
  if (response.tunnel) {
    tunnel_to_ = std::move(response.tunnel);
    static constexpr std::string_view kEstablished = "HTTP/1.1 200 Connection established\r\n\r\n";
    return Write(asio::buffer(kEstablished), [this] { OpenTunnel(); });
  }
  const bool version_11 = !parser_ || parser_->get().version() >= 11;
  head_only_ = parser_ && parser_->get().method() == http::verb::head;
  keep_alive_ = parser_ && parser_->keep_alive() && !eof_ && !core_->stopping && !core_->crowded;
  const bool bodiless = response.status == 204 || response.status == 304 || response.status < 200;
  length_ = response.content_length;
  source_ = nullptr;
  text_.clear();
  if (auto* text = std::get_if<std::string>(&response.body)) {
    if (!head_only_ || !length_) length_ = text->size();
    if (!head_only_ && !bodiless) text_ = std::move(*text);
  } else if (!head_only_ && !bodiless) {
    source_ = std::get<std::shared_ptr<BodySource>>(std::move(response.body));
    if (source_ == nullptr) return Answer(TextAnswer(500, "the answer has no body"));
  }
  if (response.status == 204 || response.status < 200) length_.reset();
  if (response.status == 304) length_ = response.content_length;
  chunked_ = !bodiless && !length_ && version_11;
  if (!bodiless && !length_ && !version_11) keep_alive_ = false;
  sent_bytes_ = 0;
  const int64_t now = ToUnixNanos(RealClock().WallNow()) / 1'000'000'000;
  head_ = FormatHead(response.status, response.headers, {length_, chunked_, keep_alive_},
                     HttpDate(now));
  const std::array<asio::const_buffer, 2> buffers = {asio::buffer(head_), asio::buffer(text_)};
  Write(buffers, [this] { source_ == nullptr ? EndAnswer() : NextChunk(); });
}

void HttpSession::NextChunk() {
  if (eof_) return Close();
  state_ = State::kAwaitChunk;
  Disarm();
  const auto once = std::make_shared<Once<Result<BodyChunk>>>(
      [self = shared_from_this()](Result<BodyChunk> chunk) {
        self->core_->Post(self->strand_, [self, chunk = std::move(chunk)]() mutable {
          self->OnChunk(std::move(chunk));
        });
      },
      Result<BodyChunk>(Internal("the body's next chunk was not delivered")));
  // Kept beyond the call, which may close the session.
  const std::shared_ptr<BodySource> source = source_;
  source->Next([once](Result<BodyChunk> chunk) { once->Deliver(std::move(chunk)); });
}

void HttpSession::OnChunk(Result<BodyChunk> chunk) {
  if (closed_) return;
  if (!chunk.ok()) {
    LOG_INFO("HTTP body cut short", {{"error", chunk.status()}, {"sent_bytes", sent_bytes_}});
    return Close();
  }
  chunk_ = std::move(chunk).value();
  state_ = State::kSending;
  const uint64_t size = chunk_.file ? chunk_.size_bytes : chunk_.data.size();
  sent_bytes_ += size;
  if (length_ && (sent_bytes_ > *length_ || (chunk_.last && sent_bytes_ < *length_))) {
    LOG_ERROR("HTTP body has not the length that was announced",
              {{"announced_bytes", *length_}, {"bytes", sent_bytes_}});
    return Close();
  }
  prefix_.clear();
  suffix_.clear();
  if (chunked_ && size > 0) {
    char hex[32];
    std::snprintf(hex, sizeof(hex), "%llx\r\n", static_cast<unsigned long long>(size));
    prefix_ = hex;
    suffix_ = "\r\n";
  }
  if (chunked_ && chunk_.last) suffix_ += "0\r\n\r\n";
  if (chunk_.file) {
    return Write(asio::buffer(prefix_), [this, size] {
      stream_.is_tls() ? SendFileByTls(chunk_.offset_bytes, size)
                       : SendFile(chunk_.offset_bytes, size);
    });
  }
  const std::array<asio::const_buffer, 3> buffers = {
      asio::buffer(prefix_), asio::buffer(chunk_.data), asio::buffer(suffix_)};
  Write(buffers, [this] { AfterChunk(); });
}

// One step per turn, so that other connections on this thread get theirs.
void HttpSession::SendFile(uint64_t offset_bytes, uint64_t left_bytes) {
  if (closed_) return;
  if (left_bytes == 0) return Write(asio::buffer(suffix_), [this] { AfterChunk(); });
  auto offset = static_cast<off_t>(offset_bytes);
  const ssize_t sent = ::sendfile(stream_.socket().native_handle(), chunk_.file->get(), &offset,
                                  std::min<uint64_t>(left_bytes, kSendfileStepBytes));
  if (sent > 0) {
    Arm(core_->options.idle_timeout);
    offset_bytes += static_cast<uint64_t>(sent);
    left_bytes -= static_cast<uint64_t>(sent);
    return asio::post(strand_, [self = shared_from_this(), offset_bytes, left_bytes] {
      self->SendFile(offset_bytes, left_bytes);
    });
  }
  if (sent < 0 && (errno == EAGAIN || errno == EINTR)) {
    return stream_.socket().async_wait(Socket::wait_write, [self = shared_from_this(), offset_bytes,
                                                            left_bytes](error_code error) {
      if (error) return self->Close();
      self->SendFile(offset_bytes, left_bytes);
    });
  }
  if (sent == 0) {
    LOG_ERROR("HTTP body cut short: the file ends early", {{"missing_bytes", left_bytes}});
  }
  Close();
}

void HttpSession::SendFileByTls(uint64_t offset_bytes, uint64_t left_bytes) {
  if (closed_) return;
  if (left_bytes == 0) {
    file_bytes_ = {};
    return Write(asio::buffer(suffix_), [this] { AfterChunk(); });
  }
  file_bytes_.resize(std::min<uint64_t>(left_bytes, HttpServer::kTlsChunkBytes));
  const auto got = ReadAt(chunk_.file->get(), file_bytes_, offset_bytes);
  if (!got.ok() || *got != file_bytes_.size()) {
    LOG_ERROR("HTTP body cut short: the file cannot be read or ends early",
              {{"missing_bytes", left_bytes}, {"error", got.status()}});
    return Close();
  }
  const size_t size = *got;
  Write(asio::buffer(file_bytes_), [this, offset_bytes, left_bytes, size] {
    SendFileByTls(offset_bytes + size, left_bytes - size);
  });
}

void HttpSession::AfterChunk() {
  const bool last = chunk_.last;
  chunk_ = {};
  last ? EndAnswer() : NextChunk();
}

void HttpSession::EndAnswer() {
  source_ = nullptr;
  text_ = {};
  if (keep_alive_ && !core_->stopping) return AwaitRequest();
  // Closing with unread input resets the connection, and the answer may be lost: read on.
  state_ = State::kLinger;
  if (stream_.is_tls()) {
    Arm(kLingerTime);
    return stream_.ShutdownTls([self = shared_from_this()](error_code) { self->Close(); });
  }
  error_code ignored;
  stream_.socket().shutdown(Socket::shutdown_send, ignored);
  if (eof_) return Close();
  Arm(kLingerTime);
  if (!watching_) buffer_.clear();
  Watch();
}

// The read that is under way must end first: what it brings is the tunnel's.
void HttpSession::OpenTunnel() {
  state_ = State::kTunnel;
  Disarm();
  if (!watching_) return StartTunnel();
  watch_cancel_.emit(asio::cancellation_type::all);
}

void HttpSession::StartTunnel() {
  tunnel_ = std::make_shared<HttpTunnel>(stream_.socket(), strand_, std::move(tunnel_to_),
                                         core_->options.tunnel_idle_timeout,
                                         [self = shared_from_this()] { self->Close(); });
  std::string early = boost::beast::buffers_to_string(buffer_.data());
  buffer_.clear();
  tunnel_->Start(std::move(early));
}

template <typename Buffers, typename Then>
void HttpSession::Write(const Buffers& buffers, Then then) {
  Arm(core_->options.idle_timeout);
  const auto progress = [self = shared_from_this()](error_code error, size_t) -> size_t {
    if (error) return 0;
    if (!self->stream_.is_tls()) self->Arm(self->core_->options.idle_timeout);
    return kSendfileStepBytes;
  };
  asio::async_write(stream_, buffers, progress,
                    [self = shared_from_this(), then](error_code error, size_t) {
                      if (self->closed_) return;
                      if (error) return self->Close();
                      then();
                    });
}

// Closes the connection when nothing re-arms or disarms for so long.
void HttpSession::Arm(milliseconds wait) {
  timer_.expires_after(wait);
  timer_.async_wait([self = shared_from_this()](error_code error) {
    if (!error && self->timer_.expiry() <= std::chrono::steady_clock::now()) self->Close();
  });
}

void HttpSession::Close() {
  if (std::exchange(closed_, true)) return;
  error_code ignored;
  // An answer without length ends with the connection: only a reset shows that it is not whole.
  const bool cut_off = state_ == State::kSending || state_ == State::kAwaitChunk;
  if (cut_off && !length_ && !chunked_) {
    stream_.socket().set_option(asio::socket_base::linger(true, 0), ignored);
  }
  stream_.socket().close(ignored);
  timer_.cancel();
  source_ = nullptr;
  tunnel_to_ = nullptr;
  if (const auto tunnel = std::exchange(tunnel_, nullptr)) tunnel->Close();
  gone_.request_stop();
}

}  // namespace hearth::net
