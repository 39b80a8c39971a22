#include "plugin/pass_through.h"

#include <functional>
#include <memory>
#include <optional>
#include <utility>

#include "base/thread.h"
#include "plugin/proxy_request.h"

namespace hearth::plugin {
namespace {

// Between the transfer, which brings bytes, and the session, which asks for them.
class Relay final : public net::HttpTransferHandler, public std::enable_shared_from_this<Relay> {
 public:
  using Ready = std::function<void(Result<net::BodyChunk>)>;

  Relay(bool head, std::string via, net::HttpServer::Respond respond)
      : head_only_(head), via_(std::move(via)), respond_(std::move(respond)) {}
  ~Relay() override { Drop(); }

  void Attach(std::shared_ptr<net::HttpTransfer> transfer, std::stop_token client_gone) {
    {
      MutexLock lock(mutex_);
      transfer_ = transfer;
    }
    on_gone_.emplace(std::move(client_gone),
                     [transfer = std::move(transfer)] { transfer->Cancel(); });
  }

  Status OnHead(const net::HttpResponseHead& head) override {
    net::ServerResponse answer;
    answer.status = head.status;
    answer.headers = ReturnedHeaders(head.headers, via_);
    answer.content_length = net::ContentLength(head.headers);
    const bool bodiless = head_only_ || head.status == 204 || head.status == 304;
    if (!bodiless) {
      answer.body = std::shared_ptr<net::BodySource>(std::make_shared<Handle>(shared_from_this()));
    }
    std::exchange(respond_, nullptr)(std::move(answer));
    return OkStatus();
  }

  Result<Flow> OnData(std::string_view data) override {
    Ready ready;
    {
      MutexLock lock(mutex_);
      if (!data_.empty()) {
        paused_ = true;
        return Flow::kPause;
      }
      if (!ready_) {
        data_ = data;
        return Flow::kGoOn;
      }
      ready = std::exchange(ready_, nullptr);
    }
    net::BodyChunk chunk;
    chunk.data = data;
    ready(std::move(chunk));
    return Flow::kGoOn;
  }

  void OnDone(const Status& status) override {
    if (respond_) return std::exchange(respond_, nullptr)(GatewayAnswer(status));
    Ready ready;
    {
      MutexLock lock(mutex_);
      done_ = status;
      ready = std::exchange(ready_, nullptr);
    }
    if (ready) ready(End(status));
  }

  void Next(Ready ready) {
    net::BodyChunk chunk;
    std::shared_ptr<net::HttpTransfer> resume;
    std::optional<Status> done;
    {
      MutexLock lock(mutex_);
      if (data_.empty() && !done_) {
        ready_ = std::move(ready);
      } else if (data_.empty()) {
        done = done_;
      } else {
        chunk.data = std::exchange(data_, {});
      }
      if (std::exchange(paused_, false)) resume = transfer_;
    }
    if (resume) resume->Resume();
    if (done) return ready(End(*done));
    if (!chunk.data.empty()) ready(std::move(chunk));
  }

 private:
  // What the session holds: when it lets go, nobody wants the rest.
  class Handle final : public net::BodySource {
   public:
    explicit Handle(std::shared_ptr<Relay> relay) : relay_(std::move(relay)) {}
    ~Handle() override { relay_->Drop(); }
    void Next(Ready ready) override { relay_->Next(std::move(ready)); }

   private:
    const std::shared_ptr<Relay> relay_;
  };

  static Result<net::BodyChunk> End(const Status& status) {
    if (!status.ok()) return status;
    net::BodyChunk nothing;
    nothing.last = true;
    return nothing;
  }

  void Drop() {
    std::shared_ptr<net::HttpTransfer> transfer;
    {
      MutexLock lock(mutex_);
      if (!done_) transfer = std::exchange(transfer_, nullptr);
    }
    if (transfer) transfer->Cancel();
  }

  const bool head_only_;
  const std::string via_;
  net::HttpServer::Respond respond_;  // of the loop thread; null once used
  std::optional<std::stop_callback<std::function<void()>>> on_gone_;

  Mutex mutex_;
  std::shared_ptr<net::HttpTransfer> transfer_ GUARDED_BY(mutex_);
  std::string data_ GUARDED_BY(mutex_);
  Ready ready_ GUARDED_BY(mutex_);
  bool paused_ GUARDED_BY(mutex_) = false;
  std::optional<Status> done_ GUARDED_BY(mutex_);
};

}  // namespace

net::ServerResponse GatewayAnswer(const Status& status) {
  net::ServerResponse answer;
  answer.status = 502;
  if (status.code() == StatusCode::kPermissionDenied) answer.status = 403;
  if (status.code() == StatusCode::kInvalidArgument) answer.status = 400;
  if (status.code() == StatusCode::kDeadlineExceeded) answer.status = 504;
  if (status.code() == StatusCode::kResourceExhausted) answer.status = 503;
  answer.headers.Add("Content-Type", "text/plain; charset=utf-8");
  answer.headers.Add("X-Hearth-Error", std::string(StatusCodeName(status.code())));
  answer.body = "hearth: " + status.message() + "\n";
  return answer;
}

void PassThrough::Run(const net::ServerRequest& request, const std::string& url,
                      net::HttpServer::Respond respond) const {
  net::HttpRequest forward;
  forward.method = request.method;
  forward.url = url;
  forward.headers = ForwardedHeaders(request.headers, via);
  forward.body = request.body;
  forward.stall_timeout = stall_timeout;
  auto relay = std::make_shared<Relay>(request.method == "HEAD", via, std::move(respond));
  relay->Attach(client.Start(std::move(forward), relay), request.client_gone);
}

}  // namespace hearth::plugin
