// NodeStream: a node's bidirectional gRPC stream, carried to and from the hub that knows what its
// messages mean. For the .cc of a service.
#pragma once

#include <grpcpp/server_context.h>
#include <grpcpp/support/server_callback.h>

#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <utility>

#include "base/thread.h"
#include "manager/stream_link.h"
#include "net/grpc.h"
#include "net/grpc_tls.h"

namespace hearth::manager {

// Waiting for a node that reads slowly; beyond it the stream is closed and the node comes again.
inline constexpr size_t kMaxQueuedMessages = 4096;
inline constexpr size_t kMaxQueuedBytes = 4 << 20;

// The outgoing half of a stream. Kept by the hub too, so it may live longer than the call.
template <typename From, typename To>
class Outbox final : public StreamLink<To> {
 public:
  // The stream's reactor, until it is done with.
  using Reactor = grpc::ServerBidiReactor<From, To>;
  Outbox(Reactor* reactor, grpc::CallbackServerContext* context)
      : reactor_(reactor), context_(context) {}

  void Send(const To& message) override {
    MutexLock lock(mutex_);
    if (closing_) return;
    const size_t size = message.ByteSizeLong();
    if (queue_.size() >= kMaxQueuedMessages || queued_bytes_ + size > kMaxQueuedBytes) {
      BeginClose(ResourceExhausted("the node reads too slowly"));
      // What is being written may wait for it for ever.
      if (reactor_ != nullptr) context_->TryCancel();
      return;
    }
    queue_.push_back(message);
    queued_bytes_ += size;
    if (!writing_) Write();
  }
  void Close(const Status& why) override {
    MutexLock lock(mutex_);
    if (!closing_) BeginClose(why);
  }
  void WriteDone(bool ok) {
    MutexLock lock(mutex_);
    writing_ = false;
    queued_bytes_ -= queue_.front().ByteSizeLong();
    queue_.pop_front();
    if (!ok && !closing_) closing_ = Cancelled("the node is gone");
    if (ok && !queue_.empty()) return Write();
    if (closing_) Finish();
  }
  // No more reads or writes will be tried: nothing of the reactor may be touched after this.
  void Detach() {
    MutexLock lock(mutex_);
    reactor_ = nullptr;
    if (!closing_) closing_ = Cancelled("the call is over");
  }

 private:
  void Write() REQUIRES(mutex_) {
    if (reactor_ == nullptr) return;
    writing_ = true;
    reactor_->StartWrite(&queue_.front());
  }
  // What is queued is dropped, but for what is being written.
  void BeginClose(const Status& why) REQUIRES(mutex_) {
    closing_ = why;
    while (queue_.size() > (writing_ ? 1u : 0u)) {
      queued_bytes_ -= queue_.back().ByteSizeLong();
      queue_.pop_back();
    }
    if (!writing_) Finish();
  }
  void Finish() REQUIRES(mutex_) {
    if (reactor_ == nullptr || finished_) return;
    finished_ = true;
    reactor_->Finish(net::ToGrpc(*closing_));
  }

  Mutex mutex_;
  Reactor* reactor_ GUARDED_BY(mutex_);
  grpc::CallbackServerContext* const context_;  // lives as long as the reactor
  std::deque<To> queue_ GUARDED_BY(mutex_);
  size_t queued_bytes_ GUARDED_BY(mutex_) = 0;
  bool writing_ GUARDED_BY(mutex_) = false;
  bool finished_ GUARDED_BY(mutex_) = false;
  std::optional<Status> closing_ GUARDED_BY(mutex_);
};

// What a hub does with a stream. Sessions are numbered by it.
template <typename From, typename To>
struct StreamHandler {
  // Of the first message. An error ends the stream.
  std::function<Result<uint64_t>(const net::GrpcTlsPeer& peer, const From& first,
                                 std::shared_ptr<StreamLink<To>> link)>
      begin;
  std::function<Status(uint64_t session, const From& message)> receive;
  std::function<void(uint64_t session)> closed;
};

// One stream. The next message is read when the last one was dealt with.
template <typename From, typename To>
class NodeStream final : public Outbox<From, To>::Reactor {
 public:
  // `handler` outlives it.
  NodeStream(const StreamHandler<From, To>& handler, grpc::CallbackServerContext* context)
      : handler_(handler),
        peer_(net::CallerOf(*context)),
        outbox_(std::make_shared<Outbox<From, To>>(this, context)) {
    if (!peer_.ok()) {
      outbox_->Close(peer_.status());
    } else {
      this->StartRead(&message_);
    }
  }

  void OnReadDone(bool ok) override {
    if (!ok) {
      outbox_->Close(Cancelled("the node closed the stream"));
      return;
    }
    const Status status = session_ ? handler_.receive(*session_, message_) : Begin();
    if (!status.ok()) {
      outbox_->Close(status);
      return;
    }
    this->StartRead(&message_);
  }
  void OnWriteDone(bool ok) override { outbox_->WriteDone(ok); }
  void OnCancel() override { outbox_->Close(Cancelled("the connection is lost")); }
  void OnDone() override {
    outbox_->Detach();
    if (session_) handler_.closed(*session_);
    delete this;
  }

 private:
  Status Begin() {
    session_ = TRY(handler_.begin(*peer_, message_, outbox_));
    peer_ = Unknown("told to the hub");  // a certificate takes kilobytes
    return OkStatus();
  }

  const StreamHandler<From, To>& handler_;
  Result<net::GrpcTlsPeer> peer_;  // until the stream has begun
  const std::shared_ptr<Outbox<From, To>> outbox_;
  std::optional<uint64_t> session_;  // of the reading side, and OnDone()
  From message_;
};

}  // namespace hearth::manager
