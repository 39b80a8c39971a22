#include "net/http_server.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <sys/socket.h>

#include <csignal>
#include <thread>
#include <vector>

#include "base/log.h"
#include "net/http_session.h"
#include "net/listener.h"

namespace hearth::net {

namespace {

using std::chrono::milliseconds;

constexpr milliseconds kAcceptRetry{100};
constexpr milliseconds kCloseWait{1'000};

class BeastServer final : public HttpServer {
 public:
  BeastServer(Options options, Handler handler, Listener listener)
      : core_(std::make_shared<HttpServerCore>(std::move(options), std::move(handler))),
        pool_({"http-handler", core_->options.handler_threads, core_->options.handler_queue}),
        address_(listener.address),
        listener_(core_->accept_strand, listener.fd.Release()),
        retry_(core_->accept_strand),
        work_(asio::make_work_guard(core_->io)) {
    core_->pool = &pool_;
    core_->on_session_gone = [this, core = core_.get()] {
      core->Post(core->accept_strand, [this] { Accept(); });
    };
    asio::post(core_->accept_strand, [this] { Accept(); });
    for (size_t i = 0; i < core_->options.io_threads; ++i) threads_.emplace_back([this] { Run(); });
  }
  ~BeastServer() override {
    Stop(milliseconds(0));
    pool_.Stop();
  }
  std::string address() const override { return address_; }
  void Stop(milliseconds grace) override;

 private:
  void Run();
  void Accept();
  void AcceptOne(int fd, int family);
  bool HasRoom();
  // Has every session do `what` on its strand.
  void TellSessions(void (HttpSession::*what)());
  void AwaitNoSession(milliseconds wait);

  const std::shared_ptr<HttpServerCore> core_;
  ThreadPool pool_;
  const std::string address_;
  asio::posix::basic_stream_descriptor<Strand> listener_;
  Timer retry_;
  bool accepting_ = false;  // of accept_strand: a wait is under way
  asio::executor_work_guard<asio::io_context::executor_type> work_;
  std::vector<std::thread> threads_;
};

void BeastServer::Run() {
  NameThread("http-io");
  // sendfile(2) knows no MSG_NOSIGNAL.
  sigset_t pipe;
  sigemptyset(&pipe);
  sigaddset(&pipe, SIGPIPE);
  ::pthread_sigmask(SIG_BLOCK, &pipe, nullptr);
  while (true) {
    try {
      core_->io.run();
      return;
    } catch (const std::exception& error) {
      LOG_ERROR("HTTP server goes on after an exception", {{"what", error.what()}});
    }
  }
}

void BeastServer::Accept() {
  if (accepting_ || core_->stopping) return;
  accepting_ = true;
  listener_.async_wait(asio::posix::descriptor_base::wait_read, [this](error_code error) {
    accepting_ = false;
    if (error || core_->stopping) return;
    if (!HasRoom()) return;  // the next session that ends comes back to Accept()
    sockaddr_storage peer{};
    socklen_t size = sizeof(peer);
    const int fd = ::accept4(listener_.native_handle(), reinterpret_cast<sockaddr*>(&peer), &size,
                             SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd >= 0) {
      AcceptOne(fd, peer.ss_family);
    } else if (errno != EAGAIN && errno != EINTR && errno != ECONNABORTED) {
      LOG_WARNING("cannot accept an HTTP connection", {{"error", ErrnoStatus(errno, "accept")}});
      retry_.expires_after(kAcceptRetry);
      retry_.async_wait([this](error_code) { Accept(); });
      return;
    }
    Accept();
  });
}

// When it is full, kept-alive connections give way to the one that waits.
bool BeastServer::HasRoom() {
  size_t sessions = 0;
  {
    MutexLock lock(core_->mutex);
    sessions = core_->sessions.size();
  }
  core_->crowded = sessions >= core_->options.max_connections;
  if (core_->crowded) TellSessions(&HttpSession::CloseIfSpare);
  return !core_->crowded;
}

void BeastServer::AcceptOne(int fd, int family) {
  if (family != AF_UNIX) {
    const int on = 1;
    ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
  }
  const auto session = std::make_shared<HttpSession>(core_);
  {
    MutexLock lock(core_->mutex);
    core_->sessions[session.get()] = session;
  }
  session->Start(fd, family);
}

void BeastServer::TellSessions(void (HttpSession::*what)()) {
  std::vector<std::shared_ptr<HttpSession>> sessions;
  {
    MutexLock lock(core_->mutex);
    for (const auto& [session, weak] : core_->sessions) {
      if (auto alive = weak.lock()) sessions.push_back(std::move(alive));
    }
  }
  for (const auto& session : sessions) {
    core_->Post(session->strand(), [session, what] { (*session.*what)(); });
  }
}

void BeastServer::AwaitNoSession(milliseconds wait) {
  const auto deadline = std::chrono::steady_clock::now() + wait;
  MutexLock lock(core_->mutex);
  while (!core_->sessions.empty() && core_->changed.WaitUntil(core_->mutex, deadline)) {
  }
}

void BeastServer::Stop(milliseconds grace) {
  core_->stopping = true;
  if (threads_.empty()) return;
  asio::post(core_->accept_strand, [this] {
    error_code ignored;
    listener_.close(ignored);
    retry_.cancel();
  });
  TellSessions(&HttpSession::CloseIfIdle);
  AwaitNoSession(grace);
  TellSessions(&HttpSession::Close);
  AwaitNoSession(kCloseWait);
  core_->io.stop();
  for (auto& thread : threads_) thread.join();
  threads_.clear();
  {
    MutexLock lock(core_->mutex);
    core_->stopped = true;
  }
  // What was under way holds its session; nothing new can come.
  work_.reset();
  core_->io.restart();
  core_->io.poll();
}

}  // namespace

Result<std::unique_ptr<HttpServer>> HttpServer::Start(Options options, Handler handler) {
  CHECK(options.io_threads > 0 && options.max_connections > 0);
  Listener listener = TRY(Listen(options.listen, options.unix_mode));
  try {
    return std::unique_ptr<HttpServer>(
        new BeastServer(std::move(options), std::move(handler), std::move(listener)));
  } catch (const std::exception& error) {
    return Internal("HTTP server cannot start: " + std::string(error.what()));
  }
}

}  // namespace hearth::net
