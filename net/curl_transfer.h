// CurlTransfer: one HTTP transfer as libcurl sees it, hop by hop; the part of HttpClient that knows
// libcurl's options and callbacks. For http_client.cc only.
#pragma once

#include <curl/curl.h>

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/status.h"
#include "base/thread.h"
#include "net/http_client.h"

namespace hearth::net {

// The parts of a URL that decide where a request goes, and what may be shown of it.
struct Origin {
  std::string scheme, host, port, path;
  bool SameAs(const Origin& other) const {
    return scheme == other.scheme && host == other.host && port == other.port;
  }
  // Without user, password and query, which may be secrets.
  std::string ToString() const { return scheme + "://" + host + ":" + port + path; }
};

class CurlMailbox;

// One transfer. All but Resume() and Cancel() belongs to the loop thread.
class CurlTransfer final : public HttpTransfer, public std::enable_shared_from_this<CurlTransfer> {
 public:
  CurlTransfer(HttpRequest what, std::shared_ptr<HttpTransferHandler> whom,
               std::shared_ptr<CurlMailbox> to)
      : request(std::move(what)), handler(std::move(whom)), mailbox(std::move(to)) {}
  ~CurlTransfer() override {
    curl_easy_cleanup(easy);
    curl_slist_free_all(header_list_);
    curl_slist_free_all(connect_to_);
  }

  void Resume() override;
  void Cancel() override;

  // Makes the easy handle ready for the next hop.
  Status PrepareHop(const HttpClient::Options& options);
  // After a hop that ended well: true when `request` was turned into the next hop's.
  Result<bool> FollowRedirect();
  Status StatusOf(CURLcode code) const;
  // "GET https://host:443/path", for messages.
  std::string Describe() const { return request.method + " " + origin_.ToString(); }
  size_t OnHeaderLine(std::string_view line);
  size_t OnBody(std::string_view data);
  // Once what had come by now was given to OnBody().
  Status OnDrained() {
    return std::exchange(took_bytes_, false) ? handler->OnDrained() : OkStatus();
  }
  curl_socket_t OpenSocket(const curl_sockaddr& address);
  void Progress() { last_progress_ = std::chrono::steady_clock::now(); }
  void GoOn();  // after a pause
  // kDeadlineExceeded once it is too slow; `due` is moved to when that can be, where it is earlier.
  Status CheckPace(SteadyTime now, SteadyTime& due);
  // The same while it waits for a connection; kResourceExhausted after `limit`.
  Status CheckWait(SteadyTime now, std::chrono::milliseconds limit, SteadyTime& due) const;

  HttpRequest request;
  std::shared_ptr<HttpTransferHandler> handler;
  const std::shared_ptr<CurlMailbox> mailbox;
  CURL* easy = nullptr;
  bool paused = false;
  bool done = false;

 private:
  Status CheckProxiedHost() const;
  void SetTrust();
  void SetIdentity();
  void SetConnectTo();
  void SetMethod();
  void SetHeaders(const std::string& user_agent);
  void SetCallbacks();
  Status CheckTotal(SteadyTime now, SteadyTime& due) const;
  std::chrono::milliseconds StallLimit() const;

  const SteadyTime began_ = std::chrono::steady_clock::now();
  SteadyTime last_progress_ = began_;
  curl_off_t bytes_seen_ = 0;  // of this hop, as libcurl counts them
  std::optional<SteadyTime> window_began_;
  uint64_t window_bytes_ = 0;
  const HttpClient::Options* options_ = nullptr;
  curl_slist* header_list_ = nullptr;
  curl_slist* connect_to_ = nullptr;
  char error_text_[CURL_ERROR_SIZE] = {};
  Origin origin_;
  HttpResponseHead head_;
  size_t header_bytes_ = 0;
  bool head_complete_ = false;
  bool redirecting_ = false;
  bool took_bytes_ = false;  // the handler did, since OnDrained()
  uint64_t redirect_body_bytes_ = 0;
  int hops_ = 0;
  bool proxied_ = false;
  bool address_tried_ = false;
  Status refused_;  // why an address was not connected to
  Status failure_;  // of the handler, or ours; ends the transfer
};

struct CurlCommand {
  enum class What { kStart, kResume, kCancel };
  What what;
  std::shared_ptr<CurlTransfer> transfer;
};

// What other threads tell the loop. Outlives the client as long as a handle is held.
class CurlMailbox {
 public:
  explicit CurlMailbox(CURLM* multi) : multi_(multi) {}

  // False after Close().
  bool Post(CurlCommand command) {
    MutexLock lock(mutex_);
    if (multi_ == nullptr) return false;
    commands_.push_back(std::move(command));
    curl_multi_wakeup(multi_);
    return true;
  }
  std::vector<CurlCommand> Take() {
    MutexLock lock(mutex_);
    return std::exchange(commands_, {});
  }
  void Close() {
    MutexLock lock(mutex_);
    curl_multi_wakeup(multi_);
    multi_ = nullptr;
  }
  bool closed() {
    MutexLock lock(mutex_);
    return multi_ == nullptr;
  }

 private:
  Mutex mutex_;
  CURLM* multi_ GUARDED_BY(mutex_);
  std::vector<CurlCommand> commands_ GUARDED_BY(mutex_);
};

// kInvalidArgument for what cannot be sent as it is: scheme, header with a line break.
Status CheckRequest(const HttpRequest& request);

}  // namespace hearth::net
