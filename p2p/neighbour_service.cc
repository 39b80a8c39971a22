#include "p2p/neighbour_service.h"

#include <grpcpp/grpcpp.h>

#include <utility>

#include "base/log.h"
#include "hearth/v1/neighbour.grpc.pb.h"
#include "net/grpc.h"
#include "net/grpc_tls.h"
#include "p2p/neighbour_stream.h"

namespace hearth::p2p {

namespace {

using Reactor = grpc::ServerBidiReactor<v1::NeighbourMessage, v1::NeighbourMessage>;

// One call. Reads and writes go on side by side; it ends once, when either side wants that.
class Conversation final : public Reactor {
 public:
  Conversation(Cluster& cluster, PeerAddress peer, const v1::NeighbourHello& own)
      : stream_(std::make_shared<NeighbourStream>(
            cluster, std::move(peer), /*dialled=*/false, own,
            NeighbourStream::Hooks{.send = [this] { Write(); },
                                   .close = [this](const Status& why) { End(why); }})) {
    Write();
    Read();
  }

  void OnReadDone(bool ok) override {
    if (!ok) return End(OkStatus());
    if (stream_->Receive(incoming_)) Read();
  }
  void OnWriteDone(bool ok) override {
    stream_->Sent();
    if (!ok) return End(Unavailable("the neighbour is gone"));
    Write();
  }
  void OnCancel() override { End(Cancelled("the neighbour is gone")); }
  void OnDone() override {
    stream_->Ended();
    delete this;
  }

 private:
  void Write() {
    MutexLock lock(mutex_);
    if (ended_) return;
    if (const auto* message = stream_->Front()) StartWrite(message);
  }
  void Read() {
    MutexLock lock(mutex_);
    if (!ended_) StartRead(&incoming_);
  }
  void End(const Status& why) {
    MutexLock lock(mutex_);
    if (!std::exchange(ended_, true)) Finish(net::ToGrpc(why));
  }

  const std::shared_ptr<NeighbourStream> stream_;
  v1::NeighbourMessage incoming_;
  Mutex mutex_;  // nothing is started after Finish()
  bool ended_ GUARDED_BY(mutex_) = false;
};

class Refusal final : public Reactor {
 public:
  explicit Refusal(const Status& why) { Finish(net::ToGrpc(why)); }
  void OnDone() override { delete this; }
};

class NeighbourService final : public v1::NeighbourControl::CallbackService {
 public:
  NeighbourService(Cluster& cluster, std::string own_cluster, v1::NeighbourHello own)
      : cluster_(cluster), own_cluster_(std::move(own_cluster)), own_(std::move(own)) {}

  Reactor* Exchange(grpc::CallbackServerContext* context) override {
    const auto caller = net::CallerOf(*context);
    if (!caller.ok()) return new Refusal(caller.status());
    const net::Identity& identity = caller->identity;
    if (identity.role != net::Role::kNode || identity.cluster != own_cluster_) {
      return new Refusal(
          Unauthenticated("only nodes of cluster " + own_cluster_ + " are neighbours here"));
    }
    if (!cluster_.MayAsk(identity.id)) {
      return new Refusal(PermissionDenied("node " + identity.id + " is banned here"));
    }
    PeerAddress peer;
    peer.id = identity.id;
    return new Conversation(cluster_, std::move(peer), own_);
  }

 private:
  Cluster& cluster_;
  const std::string own_cluster_;
  const v1::NeighbourHello own_;
};

}  // namespace

std::shared_ptr<grpc::Service> MakeNeighbourService(Cluster& cluster, std::string own_cluster,
                                                    v1::NeighbourHello own) {
  return std::make_shared<NeighbourService>(cluster, std::move(own_cluster), std::move(own));
}

}  // namespace hearth::p2p
