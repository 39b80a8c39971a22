#include "plugin/order_client.h"

#include <grpcpp/grpcpp.h>

#include <algorithm>
#include <random>
#include <utility>

#include "base/log.h"
#include "hearth/v1/orders.grpc.pb.h"
#include "net/grpc.h"

namespace hearth::plugin {

struct OrderClient::Stream {
  grpc::ClientContext context;
  std::unique_ptr<grpc::ClientReaderWriterInterface<v1::OrdersFromNode, v1::OrdersToNode>> call;
};

OrderClient::OrderClient(Options options)
    : options_(std::move(options)), thread_([this] {
        NameThread("order-client");
        Run();
      }) {}

OrderClient::~OrderClient() { Stop(); }

void OrderClient::Stop() {
  {
    MutexLock lock(mutex_);
    stopping_ = true;
    if (stream_ != nullptr) stream_->context.TryCancel();
    changed_.NotifyAll();
  }
  if (thread_.joinable()) thread_.join();
}

Status OrderClient::state() const {
  MutexLock lock(mutex_);
  return state_;
}

void OrderClient::Queue(const v1::OrdersFromNode& message) {
  MutexLock lock(mutex_);
  if (stream_ended_) return;
  if (queue_.size() >= kMaxQueued) {
    if (stream_ != nullptr) stream_->context.TryCancel();
    return;
  }
  queue_.push_back(message);
  changed_.NotifyAll();
}

void OrderClient::Run() {
  std::minstd_rand random(std::random_device{}());
  std::chrono::milliseconds pause = kFirstPause;
  for (size_t next = 0;; ++next) {
    const std::string& address = options_.addresses[next % options_.addresses.size()];
    const SteadyTime began = std::chrono::steady_clock::now();
    const Status status = Follow(address).Annotate("manager at " + address);
    {
      MutexLock lock(mutex_);
      if (stopping_) return;
      state_ = status.ok() ? Unavailable("the stream ended") : status;
    }
    LOG_WARNING("no stream for the manager's orders; those under way go on", {{"error", status}});
    if (std::chrono::steady_clock::now() - began > kLastPause) pause = kFirstPause;
    const auto jitter =
        std::chrono::milliseconds(random() % (static_cast<unsigned>(pause.count()) / 2 + 1));
    if (!WaitToRetry(pause / 2 + jitter)) return;
    pause = std::min(2 * pause, kLastPause);
  }
}

bool OrderClient::WaitToRetry(std::chrono::milliseconds pause) {
  const SteadyTime until = std::chrono::steady_clock::now() + pause;
  MutexLock lock(mutex_);
  while (!stopping_ && changed_.WaitUntil(mutex_, until)) {
  }
  return !stopping_;
}

Status OrderClient::Follow(const std::string& address) {
  const auto channel = options_.channels.To(address);
  if (!channel->WaitForConnected(std::chrono::system_clock::now() + kConnectTimeout)) {
    return Unavailable("cannot connect");
  }
  const auto stub = v1::Orders::NewStub(channel);
  Stream stream;
  stream.call = stub->Connect(&stream.context);
  {
    MutexLock lock(mutex_);
    if (stopping_) return OkStatus();
    stream_ = &stream;
    queue_.clear();
    stream_ended_ = false;
  }
  const Status status = Listen(stream);
  MutexLock lock(mutex_);
  stream_ = nullptr;
  return status;
}

Status OrderClient::Listen(Stream& stream) {
  v1::OrdersFromNode hello;
  v1::Versions& versions = *hello.mutable_hello()->mutable_versions();
  versions.set_program(options_.program);
  versions.set_protocol_min(kProtocol);
  versions.set_protocol_max(kProtocol);
  v1::OrdersToNode message;
  std::thread sender;
  if (stream.call->Write(hello) && stream.call->Read(&message) && message.has_welcome()) {
    {
      MutexLock lock(mutex_);
      state_ = OkStatus();
    }
    sender = std::thread([this, &stream] {
      NameThread("order-send");
      SendLoop(stream);
    });
    options_.book.Connected([this](const v1::OrdersFromNode& told) { Queue(told); },
                            message.welcome());
    while (stream.call->Read(&message)) Handle(message);
  }
  options_.book.Disconnected();
  {
    MutexLock lock(mutex_);
    stream_ended_ = true;
    changed_.NotifyAll();
  }
  stream.context.TryCancel();
  if (sender.joinable()) sender.join();
  return net::FromGrpc(stream.call->Finish());
}

void OrderClient::Handle(const v1::OrdersToNode& message) {
  switch (message.what_case()) {
    case v1::OrdersToNode::kOrder:
      return options_.book.Take(message.order());
    case v1::OrdersToNode::kCancel:
      return options_.book.Cancel(message.cancel());
    case v1::OrdersToNode::kSettled:
      return options_.book.Settled(message.settled());
    case v1::OrdersToNode::kWelcome:
    case v1::OrdersToNode::WHAT_NOT_SET:
      return;  // of a newer protocol
  }
}

void OrderClient::SendLoop(Stream& stream) {
  while (true) {
    v1::OrdersFromNode message;
    {
      MutexLock lock(mutex_);
      while (queue_.empty() && !stream_ended_) changed_.Wait(mutex_);
      if (stream_ended_) return;
      message = std::move(queue_.front());
      queue_.pop_front();
    }
    if (!stream.call->Write(message)) return;  // the reading side sees why
  }
}

}  // namespace hearth::plugin
