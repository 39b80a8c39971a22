// ClientStream: the node's end of a bidirectional gRPC stream, with a queue before it. Any thread.
#pragma once

#include <grpcpp/client_context.h>
#include <grpcpp/support/client_callback.h>

#include <deque>
#include <functional>
#include <memory>
#include <utility>

#include "base/thread.h"

namespace hearth::load {

template <typename From, typename To>
class ClientStream final : public grpc::ClientBidiReactor<From, To> {
 public:
  using Heard = std::function<void(const To&)>;
  using Ended = std::function<void(const grpc::Status&)>;

  // `open` is the stub's async()->Connect(). `heard` is called for each message, `ended` last; both
  // on gRPC's threads.
  template <typename Open>
  static std::shared_ptr<ClientStream> Start(const Open& open, Heard heard, Ended ended) {
    auto stream = std::make_shared<ClientStream>(std::move(heard), std::move(ended));
    stream->self_ = stream;
    open(&stream->context_, stream.get());
    stream->AddHold();  // writes come from outside
    stream->StartRead(&stream->message_);
    stream->StartCall();
    return stream;
  }
  ClientStream(Heard heard, Ended ended) : heard_(std::move(heard)), ended_(std::move(ended)) {}

  void Send(From message) {
    MutexLock lock(mutex_);
    if (closed_) return;
    queue_.push_back(std::move(message));
    if (queue_.size() == 1) this->StartWrite(&queue_.front());
  }
  void Cancel() { context_.TryCancel(); }

  void OnReadDone(bool ok) override {
    if (!ok) return Close();
    heard_(message_);
    this->StartRead(&message_);
  }
  void OnWriteDone(bool ok) override {
    if (!ok) return Close();
    MutexLock lock(mutex_);
    queue_.pop_front();
    if (!closed_ && !queue_.empty()) this->StartWrite(&queue_.front());
  }
  void OnDone(const grpc::Status& status) override {
    ended_(status);
    self_ = nullptr;
  }

 private:
  void Close() {
    {
      MutexLock lock(mutex_);
      if (std::exchange(closed_, true)) return;
    }
    this->RemoveHold();
  }

  const Heard heard_;
  const Ended ended_;
  grpc::ClientContext context_;
  To message_;
  Mutex mutex_;
  std::deque<From> queue_ GUARDED_BY(mutex_);
  bool closed_ GUARDED_BY(mutex_) = false;
  std::shared_ptr<ClientStream> self_;  // until it is done
};

}  // namespace hearth::load
