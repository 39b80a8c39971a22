// HttpStream: an HTTP answer read piece by piece by a thread that may block, hash and write to
// disk, while the client's loop thread only hands bytes over.
//
// One thread; at most `kBufferBytes` and one callback's data are in memory. Destroying it cancels.
#pragma once

#include <memory>
#include <stop_token>
#include <string>

#include "base/status.h"
#include "net/http_client.h"

namespace hearth::plugin {

class HttpStream {
 public:
  static constexpr size_t kBufferBytes = 1024 * 1024;

  // Waits for the head. `client` must outlive the stream. Errors as HttpTransferHandler::OnDone.
  static Result<std::unique_ptr<HttpStream>> Open(net::HttpClient& client, net::HttpRequest request,
                                                  std::stop_token stop);
  ~HttpStream();

  const net::HttpResponseHead& head() const;
  // The next bytes; "" = the body ended as announced.
  Result<std::string> Read();
  // After it has ended: how long nothing had come then, whoever was slow to read.
  std::chrono::nanoseconds silence() const;

 private:
  class Handler;
  HttpStream(std::shared_ptr<Handler> handler, std::shared_ptr<net::HttpTransfer> transfer,
             std::stop_token stop);

  const std::shared_ptr<Handler> handler_;
  const std::shared_ptr<net::HttpTransfer> transfer_;
  const std::stop_callback<std::function<void()>> on_stop_;
};

}  // namespace hearth::plugin
