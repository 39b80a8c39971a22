#include "cmd/admin_client.h"

#include <unistd.h>

#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "base/thread.h"

namespace hearth::cmd {

namespace {

constexpr std::chrono::seconds kConnect{5};
constexpr size_t kMaxErrorBytes = 64 * 1024;

// Hands the body of one answer to a waiting thread, or to `direct` on the loop thread.
class Answer final : public net::HttpTransferHandler {
 public:
  explicit Answer(const std::function<Status(std::string_view)>* direct) : direct_(direct) {}

  Status OnHead(const net::HttpResponseHead& head) override {
    MutexLock lock(mutex_);
    http_status_ = head.status;
    return OkStatus();
  }
  Result<Flow> OnData(std::string_view data) override {
    {
      MutexLock lock(mutex_);
      if (http_status_ >= 300) {
        error_body_.append(
            data.substr(0, kMaxErrorBytes - std::min(kMaxErrorBytes, error_body_.size())));
        return Flow::kGoOn;
      }
      if (direct_ == nullptr) {
        if (!queued_.empty() && queued_.size() + data.size() > AdminClient::kMaxQueuedBytes) {
          paused_ = true;
          return Flow::kPause;
        }
        queued_.append(data);
        changed_.NotifyAll();
        return Flow::kGoOn;
      }
    }
    TRY_STATUS((*direct_)(data));
    return Flow::kGoOn;
  }
  void OnDone(const Status& status) override {
    MutexLock lock(mutex_);
    done_ = status;
    changed_.NotifyAll();
  }

  // Bytes that arrived; nullopt after the end. Sets `resume` where the transfer was paused.
  std::optional<std::string> Take(bool& resume) {
    MutexLock lock(mutex_);
    while (queued_.empty() && !done_) changed_.Wait(mutex_);
    resume = std::exchange(paused_, false);
    if (queued_.empty()) return std::nullopt;
    return std::exchange(queued_, {});
  }
  // After the end.
  Status Outcome() {
    MutexLock lock(mutex_);
    while (!done_) changed_.Wait(mutex_);
    // A node that stays silent is as good as none.
    if (done_->code() == StatusCode::kDeadlineExceeded) return Unavailable(done_->message());
    if (!done_->ok()) return *done_;
    if (http_status_ >= 300) return ErrorFromAnswer(http_status_, error_body_);
    return OkStatus();
  }

 private:
  const std::function<Status(std::string_view)>* const direct_;
  Mutex mutex_;
  CondVar changed_;
  int http_status_ GUARDED_BY(mutex_) = 0;
  std::string queued_ GUARDED_BY(mutex_);
  std::string error_body_ GUARDED_BY(mutex_);
  bool paused_ GUARDED_BY(mutex_) = false;
  std::optional<Status> done_ GUARDED_BY(mutex_);
};

}  // namespace

Status ErrorFromAnswer(int http_status, std::string_view body) {
  const auto json = nlohmann::json::parse(body, nullptr, false);
  if (json.is_object() && json.contains("code") && json["code"].is_string() &&
      json.contains("message") && json["message"].is_string()) {
    const auto name = json["code"].get<std::string>();
    for (int code = 1; code <= static_cast<int>(StatusCode::kUnauthenticated); ++code) {
      if (StatusCodeName(static_cast<StatusCode>(code)) == name) {
        return {static_cast<StatusCode>(code), json["message"].get<std::string>()};
      }
    }
    return net::HttpStatusError(http_status, json["message"].get<std::string>());
  }
  return net::HttpStatusError(http_status, "the node answered " + std::to_string(http_status) +
                                               " without saying why (see its log)");
}

Result<std::unique_ptr<AdminClient>> AdminClient::Create(std::filesystem::path socket,
                                                         std::chrono::milliseconds stall) {
  net::HttpClient::Options options;
  options.max_connections = 2;
  auto client = TRY(net::HttpClient::Create(std::move(options)));
  return std::unique_ptr<AdminClient>(new AdminClient(std::move(socket), stall, std::move(client)));
}

AdminClient::AdminClient(std::filesystem::path socket, std::chrono::milliseconds stall,
                         std::unique_ptr<net::HttpClient> client)
    : socket_(std::move(socket)), stall_(stall), client_(std::move(client)) {}

net::HttpRequest AdminClient::Request(const std::string& method, const std::string& target) const {
  net::HttpRequest request;
  request.method = method;
  request.url = "http://localhost" + target;
  request.unix_socket = socket_.string();
  request.stall_timeout = stall_;
  request.connect_timeout = kConnect;
  return request;
}

Status AdminClient::Explain(const Status& status) const {
  if (status.code() != StatusCode::kUnavailable) return status;
  std::error_code error;
  const auto kind = std::filesystem::status(socket_, error).type();
  const std::string who = "no node answers at " + socket_.string() + ": ";
  if (kind == std::filesystem::file_type::not_found) {
    return Unavailable(who +
                       "no such socket (start it with \"hearth node\", or name its directory " +
                       "with --set run=DIR or its config with --config FILE)");
  }
  if (kind == std::filesystem::file_type::none || access(socket_.c_str(), W_OK) != 0) {
    return PermissionDenied(who + "permission denied (run as root)");
  }
  return Unavailable(who + status.message() + " (is the node running? see its log)");
}

Status AdminClient::Run(net::HttpRequest request,
                        const std::function<Status(std::string_view)>& data, bool on_loop,
                        std::stop_token stop) {
  auto answer = std::make_shared<Answer>(on_loop ? &data : nullptr);
  const auto transfer = client_->Start(std::move(request), answer);
  const std::stop_callback cancel(stop, [&transfer] { transfer->Cancel(); });
  Status taken;
  bool resume = false;
  while (auto bytes = answer->Take(resume)) {
    if (resume) transfer->Resume();
    if (taken.ok()) {
      taken = data(*bytes);
      if (!taken.ok()) transfer->Cancel();
    }
  }
  const Status outcome = answer->Outcome();
  if (!taken.ok()) return taken;
  return Explain(outcome);
}

Result<std::string> AdminClient::Call(const std::string& method, const std::string& target,
                                      std::stop_token stop) {
  std::string body;
  const auto take = [&body](std::string_view data) -> Status {
    if (body.size() + data.size() > kMaxAnswerBytes) {
      return ResourceExhausted("the node's answer is larger than 64 MiB");
    }
    body.append(data);
    return OkStatus();
  };
  TRY_STATUS(Run(Request(method, target), take, false, stop));
  return body;
}

Status AdminClient::Stream(const std::string& target, const std::string& body,
                           const std::function<Status(std::string_view line)>& line,
                           std::stop_token stop) {
  net::HttpRequest request = Request("POST", target);
  request.headers.Set("Content-Type", "application/json");
  request.body = body;
  std::string rest;
  const auto take = [&](std::string_view data) -> Status {
    rest.append(data);
    size_t start = 0;
    for (size_t end = rest.find('\n'); end != std::string::npos; end = rest.find('\n', start)) {
      if (end > start) TRY_STATUS(line(std::string_view(rest).substr(start, end - start)));
      start = end + 1;
    }
    rest.erase(0, start);
    if (rest.size() > kMaxLineBytes) {
      return ResourceExhausted("a line of the node's answer is larger than 4 MiB");
    }
    return OkStatus();
  };
  TRY_STATUS(Run(std::move(request), take, false, stop));
  return rest.empty() ? OkStatus() : line(rest);
}

Status AdminClient::Download(const std::string& target, uint64_t offset_bytes,
                             const std::function<Status(std::string_view data)>& data,
                             std::stop_token stop) {
  net::HttpRequest request = Request("GET", target);
  if (offset_bytes > 0) {
    request.headers.Set("Range", "bytes=" + std::to_string(offset_bytes) + "-");
  }
  return Run(std::move(request), data, true, stop);
}

}  // namespace hearth::cmd
