#include "plugin/http_stream.h"

#include <functional>
#include <utility>

#include "base/thread.h"

namespace hearth::plugin {

class HttpStream::Handler final : public net::HttpTransferHandler {
 public:
  Status OnHead(const net::HttpResponseHead& head) override {
    MutexLock lock(mutex_);
    head_ = head;
    has_head_ = true;
    last_heard_ = std::chrono::steady_clock::now();
    changed_.NotifyAll();
    return OkStatus();
  }
  Result<Flow> OnData(std::string_view data) override {
    MutexLock lock(mutex_);
    last_heard_ = std::chrono::steady_clock::now();
    if (buffer_.size() >= kBufferBytes) {
      paused_ = true;
      return Flow::kPause;
    }
    buffer_ += data;
    changed_.NotifyAll();
    return Flow::kGoOn;
  }
  void OnDone(const Status& status) override {
    MutexLock lock(mutex_);
    status_ = status;
    done_ = true;
    silence_ = std::chrono::steady_clock::now() - last_heard_;
    changed_.NotifyAll();
  }

  Status WaitForHead() {
    MutexLock lock(mutex_);
    while (!has_head_ && !done_) changed_.Wait(mutex_);
    if (has_head_) return OkStatus();
    return status_.ok() ? Unavailable("no answer") : status_;
  }
  // What arrived; "" = the end. `resume` says that the transfer was paused.
  Result<std::string> Take(bool& resume) {
    MutexLock lock(mutex_);
    while (buffer_.empty() && !done_) changed_.Wait(mutex_);
    resume = std::exchange(paused_, false);
    if (buffer_.empty()) TRY_STATUS(status_);
    return std::exchange(buffer_, {});
  }
  std::chrono::nanoseconds silence() const {
    MutexLock lock(mutex_);
    return silence_;
  }
  // No change any more once the head is there.
  const net::HttpResponseHead& head() const NO_THREAD_SAFETY_ANALYSIS { return head_; }

 private:
  mutable Mutex mutex_;
  CondVar changed_;
  SteadyTime last_heard_ GUARDED_BY(mutex_) = std::chrono::steady_clock::now();
  std::chrono::nanoseconds silence_ GUARDED_BY(mutex_){};
  net::HttpResponseHead head_ GUARDED_BY(mutex_);
  bool has_head_ GUARDED_BY(mutex_) = false;
  std::string buffer_ GUARDED_BY(mutex_);
  bool paused_ GUARDED_BY(mutex_) = false;
  bool done_ GUARDED_BY(mutex_) = false;
  Status status_ GUARDED_BY(mutex_);
};

HttpStream::HttpStream(std::shared_ptr<Handler> handler,
                       std::shared_ptr<net::HttpTransfer> transfer, std::stop_token stop)
    : handler_(std::move(handler)),
      transfer_(std::move(transfer)),
      on_stop_(std::move(stop), [transfer = transfer_] { transfer->Cancel(); }) {}

HttpStream::~HttpStream() { transfer_->Cancel(); }

Result<std::unique_ptr<HttpStream>> HttpStream::Open(net::HttpClient& client,
                                                     net::HttpRequest request,
                                                     std::stop_token stop) {
  auto handler = std::make_shared<Handler>();
  auto transfer = client.Start(std::move(request), handler);
  std::unique_ptr<HttpStream> stream(new HttpStream(handler, std::move(transfer), std::move(stop)));
  TRY_STATUS(handler->WaitForHead());
  return stream;
}

const net::HttpResponseHead& HttpStream::head() const { return handler_->head(); }

std::chrono::nanoseconds HttpStream::silence() const { return handler_->silence(); }

Result<std::string> HttpStream::Read() {
  bool resume = false;
  auto data = handler_->Take(resume);
  if (resume) transfer_->Resume();
  return data;
}

}  // namespace hearth::plugin
