#include "p2p/neighbour_client.h"

#include <grpcpp/grpcpp.h>

#include <utility>
#include <vector>

#include "base/log.h"
#include "hearth/v1/neighbour.grpc.pb.h"
#include "net/grpc.h"
#include "p2p/neighbour_stream.h"

namespace hearth::p2p {

// One stream. A hold keeps OnDone() away while other threads may still start something.
class NeighbourClient::Call final
    : public grpc::ClientBidiReactor<v1::NeighbourMessage, v1::NeighbourMessage> {
 public:
  Call(NeighbourClient& owner, const PeerAddress& peer)
      : owner_(owner),
        id_(peer.id),
        address_(peer.control_address),
        stub_(v1::NeighbourControl::NewStub(net::MakeTlsChannel(
            peer.control_address, owner.options_.tls, {.role = net::Role::kNode, .id = peer.id},
            kMaxNeighbourMessageBytes))),
        stream_(std::make_shared<NeighbourStream>(
            owner.options_.cluster, peer, /*dialled=*/true, owner.options_.own,
            NeighbourStream::Hooks{.send = [this] { Write(); },
                                   .close = [this](const Status& why) { Close(why); }})) {}

  void Start() {
    stub_->async()->Exchange(&context_, this);
    AddHold();
    Write();
    StartRead(&incoming_);
    StartCall();
  }
  void Cancel() { Close(Cancelled("stopping")); }

  void OnReadDone(bool ok) override {
    if (!ok) return Release();
    if (stream_->Receive(incoming_)) {
      StartRead(&incoming_);
    } else {
      Release();
    }
  }
  void OnWriteDone(bool ok) override {
    stream_->Sent();
    if (ok) Write();
  }
  void OnDone(const grpc::Status& status) override {
    stream_->Ended();
    if (!status.ok() && status.error_code() != grpc::StatusCode::ALREADY_EXISTS &&
        status.error_code() != grpc::StatusCode::CANCELLED) {
      LOG_INFO("stream to a neighbour ended",
               {{"node", id_}, {"address", address_}, {"error", net::FromGrpc(status)}});
    }
    owner_.Gone(id_);
    delete this;
  }

 private:
  void Write() {
    MutexLock lock(mutex_);
    if (released_) return;
    if (const auto* message = stream_->Front()) StartWrite(message);
  }
  void Close(const Status&) {
    context_.TryCancel();
    Release();
  }
  void Release() {
    {
      MutexLock lock(mutex_);
      if (std::exchange(released_, true)) return;
    }
    RemoveHold();
  }

  NeighbourClient& owner_;
  const std::string id_;
  const std::string address_;
  const std::unique_ptr<v1::NeighbourControl::Stub> stub_;
  grpc::ClientContext context_;
  const std::shared_ptr<NeighbourStream> stream_;
  v1::NeighbourMessage incoming_;
  Mutex mutex_;
  bool released_ GUARDED_BY(mutex_) = false;
};

NeighbourClient::NeighbourClient(Options options) : options_(std::move(options)) {}

NeighbourClient::~NeighbourClient() { Stop(); }

void NeighbourClient::Dial(const PeerAddress& peer) {
  MutexLock lock(mutex_);
  if (stopping_ || calls_.size() >= kMaxStreams || calls_.contains(peer.id)) return;
  Call* const call = calls_[peer.id] = new Call(*this, peer);
  call->Start();
}

void NeighbourClient::Gone(const std::string& node_id) {
  MutexLock lock(mutex_);
  calls_.erase(node_id);
  changed_.NotifyAll();
}

void NeighbourClient::Stop() {
  MutexLock lock(mutex_);
  stopping_ = true;
  // Each takes itself out under this lock only after its end: none goes while it is cancelled.
  for (const auto& [id, call] : calls_) call->Cancel();
  while (!calls_.empty()) changed_.Wait(mutex_);
}

}  // namespace hearth::p2p
