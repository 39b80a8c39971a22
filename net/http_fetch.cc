// HttpClient::Fetch: a whole answer in memory, over the streaming interface.
#include <charconv>
#include <utility>

#include "base/thread.h"
#include "net/http_client.h"

namespace hearth::net {

namespace {

class Collector final : public HttpTransferHandler {
 public:
  Collector(uint64_t max_body_bytes, bool has_body)
      : max_body_bytes_(max_body_bytes), has_body_(has_body) {}

  Status OnHead(const HttpResponseHead& head) override {
    response_.status = head.status;
    response_.headers = head.headers;
    response_.effective_url = head.effective_url;
    const std::string_view text = head.headers.Get("Content-Length");
    uint64_t length = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), length);
    if (has_body_ && error == std::errc() && length > max_body_bytes_) return TooLarge();
    return OkStatus();
  }
  Result<Flow> OnData(std::string_view data) override {
    if (data.size() > max_body_bytes_ - response_.body.size()) return TooLarge();
    response_.body += data;
    return Flow::kGoOn;
  }
  void OnDone(const Status& status) override {
    MutexLock lock(mutex_);
    status_ = status;
    done_ = true;
    changed_.NotifyAll();
  }

  Result<HttpResponse> Wait() {
    MutexLock lock(mutex_);
    while (!done_) changed_.Wait(mutex_);
    TRY_STATUS(status_);
    return std::move(response_);
  }

 private:
  Status TooLarge() const {
    return ResourceExhausted("the answer is larger than " + std::to_string(max_body_bytes_) +
                             " bytes");
  }

  const uint64_t max_body_bytes_;
  const bool has_body_;
  HttpResponse response_;  // of the loop thread until done_
  Mutex mutex_;
  CondVar changed_;
  bool done_ GUARDED_BY(mutex_) = false;
  Status status_ GUARDED_BY(mutex_);
};

}  // namespace

Result<HttpResponse> HttpClient::Fetch(HttpRequest request, uint64_t max_body_bytes,
                                       std::stop_token stop) {
  if (request.total_timeout.count() == 0) request.total_timeout = kDocumentTimeout;
  auto collector = std::make_shared<Collector>(max_body_bytes, request.method != "HEAD");
  const auto transfer = Start(std::move(request), collector);
  const std::stop_callback on_stop(stop, [&] { transfer->Cancel(); });
  return collector->Wait();
}

}  // namespace hearth::net
