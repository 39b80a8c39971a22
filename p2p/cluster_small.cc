// ClusterTransfer: a blob of one piece, which needs no swarm.
#include <utility>

#include "base/log.h"
#include "base/raw_digest.h"
#include "p2p/cluster_transfer.h"

namespace hearth::p2p {

// Its sum is its digest, so whoever has it may send it.
Status ClusterTransfer::RunSmall(std::stop_token stop) {
  std::vector<PeerAddress> peers;
  {
    const SteadyTime until = Now() + kLocateWait;
    MutexLock lock(mutex_);
    while (tracker_ && !located_ && !stop.stop_requested() && changed_.WaitUntil(mutex_, until)) {
    }
    if (located_) peers = *located_;
  }
  if (peers.size() > kPeersForSmall) peers.resize(kPeersForSmall);
  for (const PeerAddress& peer : peers) {
    const Status status = AskForSmall(peer, stop);
    if (status.ok()) return options_.blob->WaitComplete(stop);
    if (stop.stop_requested()) return Cancelled("the transfer of blob " + digest().ToString());
    LOG_DEBUG("peer failed", {{"error", status}});
  }
  {
    MutexLock lock(mutex_);
    core_.GrantLease({PieceIndex{0}, pieces_}, Now());
  }
  return RunSwarm(stop);
}

Status ClusterTransfer::AskForSmall(const PeerAddress& peer, std::stop_token stop) {
  struct Answer {
    Mutex mutex;
    CondVar came;
    std::optional<Status> status GUARDED_BY(mutex);
    std::shared_ptr<PeerClient::Bytes> bytes GUARDED_BY(mutex);
  };
  const auto answer = std::make_shared<Answer>();
  const auto request = options_.cluster.options().peers.Fetch(
      {.peer = peer, .blob = digest(), .offset_bytes = 0, .size_bytes = size_bytes()},
      [answer](auto bytes) {
        MutexLock lock(answer->mutex);
        answer->status = bytes.status();
        if (bytes.ok()) answer->bytes = *std::move(bytes);
        answer->came.NotifyAll();
      });
  const std::stop_callback cancel(stop, [&] { request->Cancel(); });
  MutexLock lock(answer->mutex);
  while (!answer->status) answer->came.Wait(answer->mutex);
  TRY_STATUS(*answer->status);
  if (Digest::Of(answer->bytes->data) != digest()) {
    LOG_WARNING("a node sent a wrong blob", {{"node", peer.id}, {"digest", digest().ToString()}});
    v1::FromNode message;
    message.mutable_blame()->set_blob(ToRaw(digest()));
    message.mutable_blame()->set_node_id(peer.id);
    message.mutable_blame()->set_kind(v1::Blame::SERVED_WRONG);
    options_.cluster.TellTracker(message);
    return DataLoss("node " + peer.id + " sent a wrong blob");
  }
  Credit({ByteOrigin::kPeer, peer.name, size_bytes()});
  return options_.blob->Write(0, answer->bytes->data);
}

}  // namespace hearth::p2p
