#include "manager/tracker_service.h"

#include <grpcpp/support/server_callback.h>

#include <deque>
#include <optional>

#include "base/log.h"
#include "hearth/v1/tracker.grpc.pb.h"
#include "net/grpc.h"

namespace hearth::manager {

namespace {

// The outgoing half of a stream. Kept by the hub too, so it may live longer than the call.
class Outbox final : public NodeLink {
 public:
  // The stream's reactor, until it is done with.
  using Reactor = grpc::ServerBidiReactor<v1::FromNode, v1::ToNode>;
  Outbox(Reactor* reactor, grpc::CallbackServerContext* context)
      : reactor_(reactor), context_(context) {}

  void Send(const v1::ToNode& message) override {
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
  std::deque<v1::ToNode> queue_ GUARDED_BY(mutex_);
  size_t queued_bytes_ GUARDED_BY(mutex_) = 0;
  bool writing_ GUARDED_BY(mutex_) = false;
  bool finished_ GUARDED_BY(mutex_) = false;
  std::optional<Status> closing_ GUARDED_BY(mutex_);
};

// One stream. The next message is read when the last one was dealt with.
class Stream final : public Outbox::Reactor {
 public:
  Stream(TrackerHub& hub, grpc::CallbackServerContext* context)
      : hub_(hub),
        peer_(net::CallerOf(*context)),
        outbox_(std::make_shared<Outbox>(this, context)) {
    if (!peer_.ok()) {
      outbox_->Close(peer_.status());
    } else {
      StartRead(&message_);
    }
  }

  void OnReadDone(bool ok) override {
    if (!ok) {
      outbox_->Close(Cancelled("the node closed the stream"));
      return;
    }
    const Status status = session_ ? hub_.Receive(*session_, message_) : Begin();
    if (!status.ok()) {
      outbox_->Close(status);
      return;
    }
    StartRead(&message_);
  }
  void OnWriteDone(bool ok) override { outbox_->WriteDone(ok); }
  void OnCancel() override { outbox_->Close(Cancelled("the connection is lost")); }
  void OnDone() override {
    outbox_->Detach();
    if (session_) hub_.Closed(*session_);
    delete this;
  }

 private:
  Status Begin() {
    if (!message_.has_hello()) return InvalidArgument("a stream begins with Hello");
    session_ = TRY(hub_.Open(*peer_, message_.hello(), outbox_));
    return OkStatus();
  }

  TrackerHub& hub_;
  const Result<net::GrpcTlsPeer> peer_;
  const std::shared_ptr<Outbox> outbox_;
  std::optional<TrackerHub::SessionId> session_;  // of the reading side, and OnDone()
  v1::FromNode message_;
};

class Service final : public v1::Tracker::CallbackService {
 public:
  explicit Service(TrackerHub& hub) : hub_(hub) {}
  grpc::ServerBidiReactor<v1::FromNode, v1::ToNode>* Connect(
      grpc::CallbackServerContext* context) override {
    return new Stream(hub_, context);
  }

 private:
  TrackerHub& hub_;
};

}  // namespace

std::shared_ptr<grpc::Service> MakeTrackerService(TrackerHub& hub) {
  return std::make_shared<Service>(hub);
}

}  // namespace hearth::manager
