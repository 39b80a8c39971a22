// ClusterTransfer: brings one blob into the store from the cluster's nodes and the origin together.
//
// Drives a Download (which source, which piece, when) and an Attestations (which bytes are right):
// both behind one lock, their actions carried out by the thread that runs Run(). Every piece of a
// peer is checked against its attested sum before it enters the blob. Where that made a wrong
// digest, another transfer tries again and believes less: what the first one brought stays where
// sums settle that fit it. What Run() started has ended when it returns. Any thread may call the
// rest.
#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <stop_token>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/piece.h"
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

  // What is believed of a piece; less with each try whose digest was wrong.
  enum class Trust : uint8_t {
    kFirstWord,  // the first attestation
    kSettled,    // what this node fetched itself, and what the tracker says that enough agree on
    kOrigin,     // only the former
  };
  // What a try whose digest was wrong leaves to the next one. Whoever asked for it either makes
  // that, or the tracker hears that this node has left the swarm.
  class Leavings {
   public:
    Leavings(Cluster& cluster, std::shared_ptr<store::Blob> blob);
    ~Leavings();
    Leavings(const Leavings&) = delete;
    Leavings& operator=(const Leavings&) = delete;

   private:
    friend class ClusterTransfer;
    Cluster& cluster_;
    const std::shared_ptr<store::Blob> blob_;  // failed; its file is still there
    std::optional<Attestations> sums_;
    std::map<std::string, AttesterId> attesters_;
    std::vector<std::string> attester_names_;
    std::atomic<bool> taken_ = false;
  };

  struct Options {
    Cluster& cluster;
    oci::Registry& registry;
    ThreadPool& origin_threads;        // each waits for a range
    std::vector<oci::Access> origins;  // tried in order
    std::shared_ptr<store::Blob> blob;
    Trust trust = Trust::kFirstWord;
    std::shared_ptr<Leavings> leavings = nullptr;    // of the try before
    std::shared_ptr<BlobSources> sources = nullptr;  // hears who gave what
    uint64_t seed = 0;
  };
  explicit ClusterTransfer(Options options);

  // Until the blob is complete. kCancelled: `stop`; else the last reason why nobody brought it.
  // `final_error`: our own store's, nobody else would help.
  Status Run(std::stop_token stop, bool& final_error);
  // After Run(): the bytes were wrong and the blob is dropped; else null.
  std::shared_ptr<Leavings> leavings() const { return left_; }

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
  void Prepare();
  bool IsKept(PieceIndex piece) const REQUIRES(mutex_);
  void Restore() REQUIRES(mutex_);
  void RestorePieces();
  void KeepLeavings();
  Status RejectDoubted(Status status);
  void BlameLiars();
  void BlameAttester(const std::string& node, const PieceSum& truth);
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
  bool IsHere(uint64_t begin_bytes, std::string_view data) const;
  void CompareKept(uint64_t begin_bytes, std::string_view data);
  // Of the origin, in the blob now.
  void OnOriginPiece(RequestId id, PieceIndex piece);
  void HashOriginPieces();
  void Settle(const PieceSum& piece);
  AttesterId AttesterOf(const std::string& node_id) REQUIRES(mutex_);
  void Tell(v1::OriginTrouble::Kind kind);

  const Options options_;
  const uint64_t piece_bytes_;
  const uint32_t pieces_;

  std::shared_ptr<Leavings> left_;  // of Run()'s thread

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
  PieceBitmap checked_ GUARDED_BY(mutex_);  // pieces here that hash to their expected sum
  // The sum that it was checked against is not what enough nodes agree on.
  std::optional<PieceIndex> doubted_ GUARDED_BY(mutex_);
  // Somebody said what they hash to, and they may be in the leavings or kept.
  std::vector<PieceIndex> restorable_ GUARDED_BY(mutex_);
  bool restoring_ GUARDED_BY(mutex_) = false;
  bool draining_ GUARDED_BY(mutex_) = false;
  std::map<RequestId, PieceRun> held_ GUARDED_BY(mutex_);  // behind a whole fetch
  bool whole_ GUARDED_BY(mutex_) = false;                  // the origin has no ranges
  bool whole_running_ GUARDED_BY(mutex_) = false;
  size_t under_way_ GUARDED_BY(mutex_) = 0;  // callbacks and tasks that will come
  bool woken_ GUARDED_BY(mutex_) = true;     // there is something to do besides the next tick
  bool tracker_ GUARDED_BY(mutex_) = true;
  bool refused_ GUARDED_BY(mutex_) = false;  // by the origins
  SteadyTime last_hope_ GUARDED_BY(mutex_);
  std::optional<std::vector<PeerAddress>> located_ GUARDED_BY(mutex_);
  Status store_error_ GUARDED_BY(mutex_);
  Status last_error_ GUARDED_BY(mutex_);
};

}  // namespace hearth::p2p
