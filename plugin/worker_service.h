// What the gRPC services share: calls run on workers, never on gRPC's threads, and are logged once.
//
// For the *_service.cc files only.
#pragma once

#include <google/protobuf/timestamp.pb.h>
#include <grpcpp/server_context.h>
#include <grpcpp/support/server_callback.h>

#include <functional>
#include <stop_token>
#include <string_view>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/hand_over.h"
#include "base/log.h"
#include "base/status.h"
#include "base/thread.h"
#include "net/grpc.h"

namespace hearth::plugin {

// Of a failed call, when the trouble is ours. What a client's question brings about (not there,
// there already, busy, wrong argument, gone away) is an answer and stays quiet.
inline void LogTrouble(std::string_view call, const Status& status) {
  switch (status.code()) {
    case StatusCode::kUnknown:
    case StatusCode::kDeadlineExceeded:
    case StatusCode::kResourceExhausted:
    case StatusCode::kAborted:
    case StatusCode::kInternal:
    case StatusCode::kDataLoss:
      LOG_WARNING("a call failed", {{"call", call}, {"error", status}});
      break;
    default:
      LOG_DEBUG("a call was refused", {{"call", call}, {"error", status}});
  }
}

inline grpc::Status Answer(std::string_view call, const Status& status) {
  if (!status.ok() && status.code() != StatusCode::kCancelled) LogTrouble(call, status);
  return net::ToGrpc(status);
}

// Runs `work` (Status()) on a worker and finishes the call with what it says. Request and response
// live until then.
template <typename Work>
grpc::ServerUnaryReactor* RunUnary(std::string_view call, grpc::CallbackServerContext* context,
                                   ThreadPool& workers, Work work) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  Status queued = workers.Submit(
      [call, reactor, work = std::move(work)]() mutable { reactor->Finish(Answer(call, work())); });
  if (!queued.ok()) reactor->Finish(Answer(call, queued));
  return reactor;
}

// A unary call whose work answers later through a callback; its stop token is the client's cancel.
class WaitingReactor final : public grpc::ServerUnaryReactor {
 public:
  using Finisher = std::function<void(Status)>;
  // `work` must see to it that its Finisher is called once.
  WaitingReactor(std::string_view call, ThreadPool& workers,
                 std::function<void(std::stop_token, Finisher)> work)
      : call_(call) {
    Status queued = workers.Submit([this, work = std::move(work)] {
      work(stop_.get_token(), [this](Status status) { Finish(Answer(call_, status)); });
    });
    if (!queued.ok()) Finish(Answer(call_, queued));
  }
  void OnCancel() override { stop_.request_stop(); }
  void OnDone() override { delete this; }

 private:
  const std::string_view call_;
  std::stop_source stop_;
};

// A server stream whose messages are made one at a time, each when the one before is on its way:
// however long the list and slow the client, one message is in memory and no lock is held.
template <typename Message>
class ListReactor final : public grpc::ServerWriteReactor<Message> {
 public:
  // Fills an empty message; an empty one is the end.
  using Fill = std::function<Status(Message&)>;
  ListReactor(std::string_view call, ThreadPool& workers, Fill fill)
      : call_(call), workers_(workers), fill_(std::move(fill)) {
    Next();
  }
  void OnWriteDone(bool ok) override {
    turns_.Take();
    ok ? Next() : End(Cancelled("the client went away"));
  }
  void OnDone() override {
    turns_.Take();
    delete this;
  }

 private:
  void Next() {
    const Status queued = workers_.Submit([this] {
      message_.Clear();
      if (const Status status = fill_(message_); !status.ok()) return End(status);
      if (message_.info_size() == 0) return End(OkStatus());
      turns_.Give();
      this->StartWrite(&message_);
    });
    if (!queued.ok()) End(queued);
  }

  void End(const Status& status) {
    turns_.Give();
    this->Finish(Answer(call_, status));
  }

  const std::string_view call_;
  ThreadPool& workers_;
  const Fill fill_;
  HandOver turns_;
  Message message_;
};

inline void ToTimestamp(WallTime time, google::protobuf::Timestamp* out) {
  const auto seconds = std::chrono::floor<std::chrono::seconds>(time);
  out->set_seconds(seconds.time_since_epoch().count());
  out->set_nanos(static_cast<int32_t>((time - seconds).count()));
}

template <typename Strings>
std::vector<std::string> ToVector(const Strings& strings) {
  return {strings.begin(), strings.end()};
}
template <typename Map>
std::map<std::string, std::string> ToMap(const Map& map) {
  return {map.begin(), map.end()};
}

}  // namespace hearth::plugin
