// HttpSession: one connection of HttpServer, on Asio and Beast. For http_server.cc only: this
// header and the two sources are the only ones that see Boost.
#pragma once

#include <atomic>
#include <boost/asio.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http.hpp>
#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/thread.h"
#include "net/http_server.h"
#include "net/http_stream.h"

namespace hearth::net {

namespace asio = boost::asio;
namespace http = boost::beast::http;
using boost::system::error_code;
using Strand = asio::strand<asio::io_context::executor_type>;
using Timer = asio::basic_waitable_timer<std::chrono::steady_clock,
                                         asio::wait_traits<std::chrono::steady_clock>, Strand>;

class HttpSession;
class HttpTunnel;

// What sessions share, and what answers that come too late may still touch.
struct HttpServerCore {
  HttpServerCore(HttpServer::Options opts, HttpServer::Handler handle)
      : options(std::move(opts)), handler(std::move(handle)) {}

  // For a new connection, of the identity of now; null = plain. Fails where there is none.
  Result<std::shared_ptr<SSL_CTX>> TlsContext();

  // Runs `task` on `strand`, unless the I/O threads are gone.
  template <typename Task>
  void Post(const Strand& strand, Task task) {
    MutexLock lock(mutex);
    if (!stopped) asio::post(strand, std::move(task));
  }

  const HttpServer::Options options;
  const HttpServer::Handler handler;
  asio::io_context io;
  const Strand accept_strand = asio::make_strand(io);
  ThreadPool* pool = nullptr;  // outlives the I/O threads
  std::function<void()> on_session_gone;
  std::atomic<bool> stopping = false;
  std::atomic<bool> crowded = false;  // a connection waits for one of those that there are to end

  Mutex mutex;
  CondVar changed;
  bool stopped GUARDED_BY(mutex) = false;
  std::map<HttpSession*, std::weak_ptr<HttpSession>> sessions GUARDED_BY(mutex);
  std::shared_ptr<const TlsIdentity> tls_identity GUARDED_BY(mutex);  // tls_context is made of it
  std::shared_ptr<SSL_CTX> tls_context GUARDED_BY(mutex);
};

// One connection. Everything runs on its strand.
class HttpSession : public std::enable_shared_from_this<HttpSession> {
 public:
  using Socket = HttpStream::Socket;

  explicit HttpSession(std::shared_ptr<HttpServerCore> core);
  ~HttpSession();

  // Takes over the connected, non-blocking socket `fd`.
  void Start(int fd, int family);
  void CloseIfIdle() {
    if (state_ == State::kIdle) Close();
  }
  // Kept alive after an answer, with nothing of a next request.
  void CloseIfSpare() {
    if (state_ == State::kIdle && served_ && buffer_.size() == 0) Close();
  }
  void Close();
  const Strand& strand() const { return strand_; }

 private:
  enum class State { kIdle, kRequest, kHandling, kSending, kAwaitChunk, kLinger, kTunnel };
  using Parser = http::request_parser<http::string_body>;

  void Handshake();
  void AwaitRequest();
  void OnHead(error_code error);
  void ReadBody();
  void Refuse(error_code error);
  void RefuseWith(int status, std::string text);
  void Dispatch();
  void Watch();
  void OnWatched(error_code error);
  void Answer(ServerResponse response);
  void NextChunk();
  void OnChunk(Result<BodyChunk> chunk);
  void SendFile(uint64_t offset_bytes, uint64_t left_bytes);
  void SendFileByTls(uint64_t offset_bytes, uint64_t left_bytes);
  void AfterChunk();
  void EndAnswer();
  void OpenTunnel();
  void StartTunnel();
  void Arm(std::chrono::milliseconds wait);
  void Disarm() { timer_.expires_at(SteadyTime::max()); }
  template <typename Buffers, typename Then>
  void Write(const Buffers& buffers, Then then);

  const std::shared_ptr<HttpServerCore> core_;  // first, since the rest lives in its io_context
  const Strand strand_;
  HttpStream stream_;
  Timer timer_;
  boost::beast::flat_buffer buffer_;
  std::optional<Parser> parser_;
  State state_ = State::kIdle;
  bool closed_ = false;
  bool served_ = false;
  bool watching_ = false;  // a read into buffer_ is under way
  asio::cancellation_signal watch_cancel_;
  bool eof_ = false;
  std::stop_source gone_;
  std::shared_ptr<const TlsPeer> peer_;
  std::string remote_;

  // The answer under way.
  bool head_only_ = false;
  bool keep_alive_ = false;
  bool chunked_ = false;
  std::optional<uint64_t> length_;
  uint64_t sent_bytes_ = 0;
  std::string head_, text_, prefix_, suffix_;
  std::vector<char> file_bytes_;  // of the file under way, where it goes by TLS
  std::shared_ptr<BodySource> source_;
  BodyChunk chunk_;
  std::shared_ptr<Fd> tunnel_to_;
  std::shared_ptr<HttpTunnel> tunnel_;
};

}  // namespace hearth::net
