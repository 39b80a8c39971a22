#include "p2p/peer_client.h"

#include <algorithm>
#include <atomic>
#include <utility>

#include "net/certificate.h"
#include "p2p/traffic.h"

namespace hearth::p2p {

namespace {

constexpr std::chrono::milliseconds kConnectTimeout{3'000};
constexpr std::chrono::milliseconds kStallTimeout{5'000};
constexpr size_t kMaxRefusalBytes = 1024;

}  // namespace

struct PeerClient::State {
  explicit State(Options opts) : options(std::move(opts)) {}
  // Starts those that wait, as far as memory goes; one always may.
  void Begin();
  void Free(uint64_t bytes) {
    {
      MutexLock lock(mutex);
      taken_bytes -= bytes;
    }
    Begin();
  }

  const Options options;
  Mutex mutex;
  uint64_t taken_bytes GUARDED_BY(mutex) = 0;
  std::deque<std::shared_ptr<Transfer>> waiting GUARDED_BY(mutex);
  bool stopped GUARDED_BY(mutex) = false;
};

PeerClient::Bytes::Bytes(std::shared_ptr<State> state, uint64_t size_bytes)
    : state_(std::move(state)), size_bytes_(size_bytes) {
  data.reserve(size_bytes);
}

PeerClient::Bytes::~Bytes() {
  data = {};
  state_->Free(size_bytes_);
}

class PeerClient::Transfer final : public Request,
                                   public net::HttpTransferHandler,
                                   public std::enable_shared_from_this<Transfer> {
 public:
  Transfer(std::shared_ptr<State> state, PieceAsk ask, Done done)
      : state_(std::move(state)), ask_(std::move(ask)), done_(std::move(done)) {}

  uint64_t size_bytes() const { return ask_.size_bytes; }

  // The memory is taken.
  void Begin() {
    bytes_ = std::make_shared<Bytes>(state_, ask_.size_bytes);
    bytes_->from = ask_.peer.name;
    net::HttpRequest request;
    request.tls = state_->options.identity();
    if (!request.tls) return Finish(FailedPrecondition("this node has no certificate yet"));
    // The host stands for the identity, so that a connection is only used again for the same one.
    request.url = "https://" + ask_.peer.id + ".peer/v1/blob/sha256/" + ask_.blob.hex();
    request.connect_to = ask_.peer.data_address;
    request.peer_uri =
        net::Identity{net::Role::kNode, state_->options.cluster, ask_.peer.id}.ToUri();
    request.headers.Set("Range", "bytes=" + std::to_string(ask_.offset_bytes) + "-" +
                                     std::to_string(ask_.offset_bytes + ask_.size_bytes - 1));
    request.connect_timeout = kConnectTimeout;
    request.stall_timeout = kStallTimeout;
    request.low_speed_window = net::kLowSpeedWindow;
    waits_here_ = false;
    began_ = std::chrono::steady_clock::now();
    auto handle = state_->options.client.Start(std::move(request), shared_from_this());
    MutexLock lock(mutex_);
    if (ended_) return;
    handle_ = std::move(handle);
    if (cancelled_) handle_->Cancel();
    if (std::exchange(resume_early_, false)) handle_->Resume();
  }

  void Cancel() override {
    std::shared_ptr<net::HttpTransfer> handle;
    {
      MutexLock lock(mutex_);
      cancelled_ = true;
      handle = handle_;
    }
    if (handle) handle->Cancel();
  }
  bool cancelled() const {
    MutexLock lock(mutex_);
    return cancelled_;
  }
  bool waits_here() const override { return waits_here_; }

  Status OnHead(const net::HttpResponseHead& head) override {
    status_ = head.status;
    if (status_ != 206) return OkStatus();
    const auto range = net::ContentRange::Parse(head.headers.Get("Content-Range"));
    if (!range || range->begin_bytes != ask_.offset_bytes) {
      return Unavailable("another range came than was asked for");
    }
    if (ask_.answered) ask_.answered(std::chrono::steady_clock::now() - began_);
    return OkStatus();
  }

  Result<Flow> OnData(std::string_view data) override {
    if (status_ != 206) {
      refusal_ += data.substr(0, kMaxRefusalBytes - std::min(refusal_.size(), kMaxRefusalBytes));
      if (refusal_.size() < kMaxRefusalBytes) return Flow::kGoOn;
      return Unavailable("the rest is not wanted");
    }
    const SteadyTime now = std::chrono::steady_clock::now();
    waits_here_ = free_at_ > now;
    if (waits_here_) {
      state_->options.timers.At(free_at_, [self = shared_from_this()] { self->Resume(); });
      return Flow::kPause;
    }
    if (data.size() > ask_.size_bytes - bytes_->data.size()) {
      return DataLoss("more bytes came than were asked for");
    }
    free_at_ = state_->options.limiter.Charge(Limiter::Traffic::kPeer, data.size(), now);
    bytes_->data += data;
    CountReceived(ByteOrigin::kPeer, data.size());
    if (ask_.progress) ask_.progress(data.size());
    return Flow::kGoOn;
  }

  void OnDone(const Status& status) override {
    {
      MutexLock lock(mutex_);
      ended_ = true;
      handle_ = nullptr;
    }
    if (status_ != 0 && status_ != 206) {
      return Finish(net::HttpStatusError(status_, "HTTP " + std::to_string(status_) + ": " +
                                                      refusal_.substr(0, refusal_.find('\n'))));
    }
    if (!status.ok()) return Finish(status);
    if (bytes_->data.size() != ask_.size_bytes) return Finish(Unavailable("fewer bytes came"));
    const Done done = std::exchange(done_, nullptr);
    done(std::exchange(bytes_, nullptr));
  }

  void Finish(const Status& status) {
    bytes_ = nullptr;
    if (const Done done = std::exchange(done_, nullptr)) {
      done(status.Annotate("node " + ask_.peer.name + " at " + ask_.peer.data_address));
    }
  }

 private:
  void Resume() {
    MutexLock lock(mutex_);
    if (handle_) {
      handle_->Resume();
    } else {
      resume_early_ = true;
    }
  }

  const std::shared_ptr<State> state_;
  const PieceAsk ask_;
  SteadyTime began_{};  // before the loop thread has it
  std::atomic<bool> waits_here_ = true;
  // Of the loop thread.
  Done done_;
  std::shared_ptr<Bytes> bytes_;
  int status_ = 0;
  std::string refusal_;
  SteadyTime free_at_{};

  mutable Mutex mutex_;
  std::shared_ptr<net::HttpTransfer> handle_ GUARDED_BY(mutex_);
  bool cancelled_ GUARDED_BY(mutex_) = false;
  bool ended_ GUARDED_BY(mutex_) = false;
  bool resume_early_ GUARDED_BY(mutex_) = false;
};

void PeerClient::State::Begin() {
  while (true) {
    std::shared_ptr<Transfer> next;
    bool cancelled = false;
    {
      MutexLock lock(mutex);
      if (waiting.empty()) return;
      const uint64_t size = waiting.front()->size_bytes();
      cancelled = stopped || waiting.front()->cancelled();
      const bool fits = taken_bytes == 0 || taken_bytes + size <= options.memory_bytes;
      if (!fits && !cancelled) return;
      next = std::move(waiting.front());
      waiting.pop_front();
      if (!cancelled) taken_bytes += size;
    }
    cancelled ? next->Finish(Cancelled("no longer wanted")) : next->Begin();
  }
}

PeerClient::PeerClient(Options options) : state_(std::make_shared<State>(std::move(options))) {}

PeerClient::~PeerClient() {
  {
    MutexLock lock(state_->mutex);
    state_->stopped = true;
  }
  state_->Begin();
}

uint64_t PeerClient::held_bytes() const {
  MutexLock lock(state_->mutex);
  return state_->taken_bytes;
}

std::shared_ptr<PeerClient::Request> PeerClient::Fetch(PieceAsk ask, Done done) {
  auto transfer = std::make_shared<Transfer>(state_, std::move(ask), std::move(done));
  {
    MutexLock lock(state_->mutex);
    state_->waiting.push_back(transfer);
  }
  state_->Begin();
  return transfer;
}

}  // namespace hearth::p2p
