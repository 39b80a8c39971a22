#include "net/http_client.h"

#include <curl/curl.h>
#include <pthread.h>

#include <algorithm>
#include <csignal>
#include <deque>
#include <map>
#include <thread>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/thread.h"
#include "net/curl_transfer.h"

namespace hearth::net {

namespace {

constexpr size_t kMaxWaitingTransfers = 4096;
constexpr std::chrono::seconds kMaxWaitForConnection{300};
constexpr std::chrono::milliseconds kIdlePoll{60'000};
constexpr char kStopping[] = "the HTTP client is stopping";

class CurlClient final : public HttpClient {
 public:
  CurlClient(Options options, CURLM* multi)
      : options_(std::move(options)),
        multi_(multi),
        mailbox_(std::make_shared<CurlMailbox>(multi)) {
    thread_ = std::thread([this] { Run(); });
  }
  ~CurlClient() override {
    mailbox_->Close();
    thread_.join();
    curl_multi_cleanup(multi_);
  }

  std::shared_ptr<HttpTransfer> Start(HttpRequest request,
                                      std::shared_ptr<HttpTransferHandler> handler) override {
    auto transfer =
        std::make_shared<CurlTransfer>(std::move(request), std::move(handler), mailbox_);
    if (!mailbox_->Post({CurlCommand::What::kStart, transfer})) {
      transfer->handler->OnDone(Cancelled(kStopping));
    }
    return transfer;
  }

 private:
  using Shared = std::shared_ptr<CurlTransfer>;

  void Run();
  void Obey(const CurlCommand& command);
  void Admit();
  void StartHop(const Shared& transfer);
  void Reap();
  void TellDrained();
  // Ends what is late; says how long none of the others can be due.
  std::chrono::milliseconds EndLate();
  void Finish(const Shared& transfer, const Status& status);

  const Options options_;
  CURLM* const multi_;
  const std::shared_ptr<CurlMailbox> mailbox_;
  // Of the loop thread.
  std::deque<Shared> waiting_;
  std::map<CURL*, Shared> active_;
  std::thread thread_;
};

void CurlClient::Run() {
  NameThread("http-client");
  sigset_t pipe;
  sigemptyset(&pipe);
  sigaddset(&pipe, SIGPIPE);
  ::pthread_sigmask(SIG_BLOCK, &pipe, nullptr);
  while (!mailbox_->closed()) {
    for (const CurlCommand& command : mailbox_->Take()) Obey(command);
    Admit();
    int running = 0;
    curl_multi_perform(multi_, &running);
    Reap();
    TellDrained();
    auto wait = EndLate();
    if (!waiting_.empty() && active_.size() < options_.max_connections) wait = {};
    curl_multi_poll(multi_, nullptr, 0, static_cast<int>(wait.count()), nullptr);
  }
  for (const CurlCommand& command : mailbox_->Take()) Obey(command);
  const Status stopped = Cancelled(kStopping);
  while (!active_.empty()) Finish(active_.begin()->second, stopped);
  while (!waiting_.empty()) Finish(waiting_.front(), stopped);
}

void CurlClient::Obey(const CurlCommand& command) {
  const Shared& transfer = command.transfer;
  if (transfer->done) return;
  switch (command.what) {
    case CurlCommand::What::kStart: {
      const Status good = CheckRequest(transfer->request);
      if (!good.ok()) return Finish(transfer, good);
      if (waiting_.size() >= kMaxWaitingTransfers) {
        return Finish(transfer, ResourceExhausted("too many HTTP transfers wait for a connection"));
      }
      waiting_.push_back(transfer);
      return;
    }
    case CurlCommand::What::kCancel:
      return Finish(transfer, Cancelled("HTTP transfer was cancelled"));
    case CurlCommand::What::kResume: {
      if (!transfer->paused) return;
      transfer->GoOn();
      // Delivers what was held back, from inside this call.
      const CURLcode code = curl_easy_pause(transfer->easy, CURLPAUSE_CONT);
      if (code != CURLE_OK) Finish(transfer, transfer->StatusOf(code));
      return;
    }
  }
}

void CurlClient::Admit() {
  while (!waiting_.empty() && active_.size() < options_.max_connections) {
    const Shared transfer = waiting_.front();
    waiting_.pop_front();
    StartHop(transfer);
  }
}

void CurlClient::StartHop(const Shared& transfer) {
  const Status ready = transfer->PrepareHop(options_);
  if (!ready.ok()) return Finish(transfer, ready);
  CHECK(curl_multi_add_handle(multi_, transfer->easy) == CURLM_OK);
  active_[transfer->easy] = transfer;
}

void CurlClient::Reap() {
  int left = 0;
  while (const CURLMsg* message = curl_multi_info_read(multi_, &left)) {
    if (message->msg != CURLMSG_DONE) continue;
    const CURLcode code = message->data.result;  // the message dies with the handle's removal
    const Shared transfer = active_.at(message->easy_handle);
    const Status status = transfer->StatusOf(code);
    auto follow = status.ok() ? transfer->FollowRedirect() : Result<bool>(status);
    if (!follow.ok() || !*follow) {
      Finish(transfer, follow.status());
      continue;
    }
    curl_multi_remove_handle(multi_, transfer->easy);
    active_.erase(transfer->easy);
    StartHop(transfer);
  }
}

void CurlClient::TellDrained() {
  std::vector<std::pair<Shared, Status>> failed;
  for (const auto& [easy, transfer] : active_) {
    Status status = transfer->OnDrained();
    if (!status.ok()) failed.emplace_back(transfer, std::move(status));
  }
  for (const auto& [transfer, status] : failed) Finish(transfer, status);
}

std::chrono::milliseconds CurlClient::EndLate() {
  const SteadyTime now = std::chrono::steady_clock::now();
  SteadyTime due = now + kIdlePoll;
  std::vector<std::pair<Shared, Status>> late;
  const auto look = [&](const Shared& transfer, Status status) {
    if (!status.ok()) late.emplace_back(transfer, std::move(status));
  };
  for (const auto& [easy, transfer] : active_) look(transfer, transfer->CheckPace(now, due));
  for (const Shared& transfer : waiting_) {
    look(transfer, transfer->CheckWait(now, kMaxWaitForConnection, due));
  }
  for (const auto& [transfer, status] : late) Finish(transfer, status);
  if (!late.empty()) return {};  // another one can take its place
  // Rounded up: to wake just before it is due would be to turn in a circle.
  return std::chrono::ceil<std::chrono::milliseconds>(due - now);
}

void CurlClient::Finish(const Shared& transfer, const Status& status) {
  // `transfer` may be a reference into what is erased here.
  const Shared kept = transfer;  // NOLINT(performance-unnecessary-copy-initialization)
  if (kept->done) return;
  kept->done = true;
  std::erase(waiting_, kept);
  if (active_.erase(kept->easy) != 0) curl_multi_remove_handle(multi_, kept->easy);
  curl_easy_cleanup(std::exchange(kept->easy, nullptr));
  kept->handler->OnDone(status);
  kept->handler.reset();
}

}  // namespace

Result<std::unique_ptr<HttpClient>> HttpClient::Create(Options options) {
  static const CURLcode global = curl_global_init(CURL_GLOBAL_DEFAULT);
  CURLM* multi = global == CURLE_OK ? curl_multi_init() : nullptr;
  if (multi == nullptr) return Internal("libcurl cannot be initialised");
  const auto connections = static_cast<long>(options.max_connections);
  curl_multi_setopt(multi, CURLMOPT_MAXCONNECTS, connections);
  return std::unique_ptr<HttpClient>(new CurlClient(std::move(options), multi));
}

}  // namespace hearth::net
