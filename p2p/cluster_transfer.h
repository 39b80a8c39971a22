// ClusterTransfer: brings one blob into the store from the cluster's nodes and the origin together.
//
// Drives a Download (which source, which piece, when) and an Attestations (which bytes are right):
// both behind one lock, their actions carried out by the thread that runs Run(). Every piece of a
// peer is checked against its attested sum before it enters the blob. What Run() started has ended
// when it returns. Any thread may call the rest.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <stop_token>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/piece_sum.h"
#include "base/thread.h"
#include "hearth/v1/tracker.pb.h"
#include "oci/registry.h"
#include "p2p/attestations.h"
#include "p2p/blob_sources.h"
#include "p2p/cluster.h"
#include "p2p/download.h"
#include "p2p/peer_client.h"
#include "store/blob.h"

namespace hearth::p2p {

class ClusterTransfer : public std::enable_shared_from_this<ClusterTransfer> {
 public:
  // How long a blob of one piece waits for the tracker's word who has it.
  static constexpr std::chrono::milliseconds kLocateWait{300};
  static constexpr size_t kPeersForSmall = 2;
  // Of what a reader waits for, so much is fetched before everything else.
  static constexpr uint64_t kWindowBytes = 4 << 20;
  // The origin refuses, and no neighbour has had anything of use for so long.
  static constexpr std::chrono::seconds kHopeless{3};

  struct Options {
    Cluster& cluster;
    oci::Registry& registry;
    ThreadPool& origin_threads;        // each waits for a range
    std::vector<oci::Access> origins;  // tried in order
    std::shared_ptr<store::Blob> blob;
    // Of an earlier try whose digest was wrong: everything comes from the origin now, and who
    // attested something else is blamed.
    std::shared_ptr<ClusterTransfer> judged = nullptr;
    std::shared_ptr<BlobSources> sources = nullptr;  // hears who gave what
    uint64_t seed = 0;
  };
  explicit ClusterTransfer(Options options);

  // Until the blob is complete. kDataLoss: its digest was wrong; kCancelled: `stop`; else the last
  // reason why nobody brought it. `final_error`: our own store's, nobody else would help.
  Status Run(std::stop_token stop, bool& final_error);

  const Digest& digest() const { return options_.blob->digest(); }
  uint64_t size_bytes() const { return options_.blob->size_bytes(); }
  uint32_t pieces() const { return pieces_; }
  v1::JoinBlob JoinMessage() const;
  // Neighbours that have the piece.
  uint32_t Holders(PieceIndex piece) const;

  void OnTracker(bool up);
  void OnLease(PieceRun run, bool granted);
  void OnNeighbours(const std::vector<PeerAddress>& peers, bool located);
  void OnHave(const PeerAddress& peer, const std::vector<PieceSum>& pieces);
  void OnSums(const std::string& attester, const std::vector<PieceSum>& sums);
  // What enough nodes agree on.
  void OnSettled(const std::vector<PieceSum>& sums);
  void OnNeighbourGone(const std::string& node_id);
  void OnBan(const std::string& node_id);

 private:
  class OriginSink;
  friend class OriginSink;
  struct Peer {
    PeerAddress address;
    SourceId source{};
  };
  struct Request {
    std::shared_ptr<PeerClient::Request> peer;  // or
    std::optional<std::stop_source> origin;
  };

  SteadyTime Now() const { return options_.cluster.options().clock.SteadyNow(); }
  uint64_t Begin(PieceIndex piece) const { return static_cast<uint32_t>(piece) * piece_bytes_; }
  uint64_t SizeOf(PieceIndex piece) const;
  // The bytes are in the blob.
  void Credit(const SourceBytes& given) const;
  Attestations Sums() const;
  void Prepare();
  Status RunSwarm(std::stop_token stop);
  Status RunSmall(std::stop_token stop);
  Status AskForSmall(const PeerAddress& peer, std::stop_token stop);
  std::vector<Action> NextActions(std::stop_token stop);
  void FollowReaders();
  void KeepAlive(SteadyTime now) REQUIRES(mutex_);
  bool IsHopeless(SteadyTime now) REQUIRES(mutex_);
  void Do(const Action& action);
  void AskPeer(const Action& action);
  void AskOrigin(const Action& action);
  void Blame(const Action& action);
  void TellMissing(const std::vector<Action>& actions);
  void Drain();
  void EndOne();

  // A peer's bytes came.
  void Check(RequestId id, PieceIndex piece, std::shared_ptr<PeerClient::Bytes> bytes);
  // On an origin thread.
  void FetchRun(RequestId id, PieceRun run, std::stop_token stop);
  Status FetchFromOrigins(RequestId id, PieceRun run, bool whole, std::stop_token stop);
  void EndRun(RequestId id, const Status& status);
  // Of the origin, in the blob now.
  void OnOriginPiece(RequestId id, PieceIndex piece);
  void HashOriginPieces();
  void Settle(const PieceSum& piece);
  AttesterId AttesterOf(const std::string& node_id) REQUIRES(mutex_);
  void Tell(v1::OriginTrouble::Kind kind);

  const Options options_;
  const uint64_t piece_bytes_;
  const uint32_t pieces_;

  mutable Mutex mutex_;
  CondVar changed_;
  Download core_ GUARDED_BY(mutex_);
  Attestations sums_ GUARDED_BY(mutex_);
  std::map<std::string, Peer> peers_ GUARDED_BY(mutex_);
  std::map<SourceId, std::string> by_source_ GUARDED_BY(mutex_);
  std::map<std::string, AttesterId> attesters_ GUARDED_BY(mutex_);
  std::vector<std::string> attester_names_ GUARDED_BY(mutex_);
  std::map<RequestId, Request> requests_ GUARDED_BY(mutex_);
  PieceRun window_ GUARDED_BY(mutex_);
  std::vector<PieceIndex> unhashed_ GUARDED_BY(mutex_);  // of the origin
  bool hashing_ GUARDED_BY(mutex_) = false;
  std::map<RequestId, PieceRun> held_ GUARDED_BY(mutex_);  // behind a whole fetch
  bool whole_ GUARDED_BY(mutex_) = false;                  // the origin has no ranges
  bool whole_running_ GUARDED_BY(mutex_) = false;
  size_t under_way_ GUARDED_BY(mutex_) = 0;  // callbacks and tasks that will come
  bool woken_ GUARDED_BY(mutex_) = false;
  bool tracker_ GUARDED_BY(mutex_) = true;
  bool refused_ GUARDED_BY(mutex_) = false;  // by the origins
  SteadyTime last_hope_ GUARDED_BY(mutex_);
  std::optional<std::vector<PeerAddress>> located_ GUARDED_BY(mutex_);
  Status store_error_ GUARDED_BY(mutex_);
  Status last_error_ GUARDED_BY(mutex_);
};

}  // namespace hearth::p2p
