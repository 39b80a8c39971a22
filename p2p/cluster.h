// Cluster: this node's part in the swarms of its cluster. Brings together the tracker's word, the
// neighbours' streams and the transfers of blobs.
//
// It knows for each blob what this node has told of it (attestations, pieces), and to whom, also
// after the transfer has ended: whoever holds a verified blob seeds it. Any thread; calls do not
// wait for the network. Its lock is never held while a transfer's method runs.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/digest.h"
#include "base/piece.h"
#include "base/piece_sum.h"
#include "base/thread.h"
#include "base/timer.h"
#include "p2p/attester.h"
#include "p2p/limiter.h"
#include "p2p/links.h"
#include "p2p/news_log.h"
#include "p2p/peer_client.h"
#include "store/blob_store.h"

namespace hearth::p2p {

class ClusterTransfer;

class Cluster {
 public:
  static constexpr size_t kMaxNeighbours = 64;
  static constexpr size_t kMaxShares = 64;  // blobs told of; the least recently used seeds go
  // Of the attestations of one blob, beside what each of its pieces adds.
  static constexpr size_t kMinAttestationBytes = 256 * 1024;
  static constexpr size_t kAttestationBytesPerPiece = 2 * 1024;
  static constexpr size_t kMaxSharesPerNeighbour = 256;
  static constexpr std::chrono::milliseconds kFirstRedial{1'000};  // doubles up to kLastRedial
  static constexpr std::chrono::milliseconds kLastRedial{60'000};

  struct Options {
    std::string node_id;
    store::BlobStore& blobs;
    PeerClient& peers;
    Attester& attester;
    ThreadPool& cpu;  // hashes
    Limiter& limiter;
    TimerQueue& timers;
    // False: the blob's registry is not shared between nodes.
    std::function<bool(const Digest&)> may_share = nullptr;
    const Clock& clock = RealClock();
  };
  explicit Cluster(Options options);
  ~Cluster();

  // Before anything else, and with nulls after everything else.
  void Connect(TrackerLink* tracker, NeighbourDialer* dialer);

  const Options& options() const { return options_; }
  bool has_tracker() const;
  // Not banned by the tracker, nor by ourselves for a flood.
  bool MayAsk(const std::string& node_id) const;
  size_t neighbours() const;
  // Neighbours that are known to have the piece.
  uint32_t Holders(const Digest& blob, PieceIndex piece) const;

  // --- transfers ---
  // Tells tracker and neighbours that the blob is wanted, until Leave().
  void Enter(const std::shared_ptr<ClusterTransfer>& transfer);
  enum class Left : uint8_t {
    kComplete,  // verified: this node seeds it from now on
    kUnfinished,
    kWrongDigest,  // it tries again; what was attested is kept, as proof
  };
  void Leave(ClusterTransfer& transfer, Left how);
  // Dials the neighbours of the tracker's choice again whose streams were lost, each less and less
  // often; whoever still wants the blob calls it now and then.
  void Redial(const Digest& blob);
  // Nothing that the node attested of the blob is told any more.
  void Forget(const Digest& blob, const std::string& node_id);
  // Signs and tells the sums of pieces that this node fetched from the origin, or holds verified.
  void Attest(const Digest& blob, uint64_t size_bytes, PieceIndex first,
              const std::vector<Digest>& sums);
  // A piece is here whose sum somebody attested.
  void Announce(const Digest& blob, const PieceSum& piece);
  void TellTracker(const v1::FromNode& message);
  // Where the node said another sum of the piece than this one; nullptr where that is forgotten.
  std::shared_ptr<const v1::Attestation> Proof(const Digest& blob, const std::string& node_id,
                                               const PieceSum& piece) const;

  // --- the tracker's stream ---
  void OnTrackerUp();
  void OnTrackerDown();
  void OnTracker(const v1::ToNode& message);

  // --- neighbours' streams; messages of one link come one after the other ---
  // kAlreadyExists, kResourceExhausted, kPermissionDenied: close it, nothing was kept.
  Status OnLinkUp(const std::shared_ptr<NeighbourLink>& link);
  void OnLinkDown(const NeighbourLink& link);
  // An error: beyond a limit; close the link with it, and the node stays out for a while.
  Status OnMessage(NeighbourLink& link, const v1::NeighbourMessage& message);

 private:
  using AttestationId = uint64_t;  // the start of its hash
  struct Attested {
    std::shared_ptr<const v1::Attestation> attestation;
    std::string by;
    AttestationId id;
  };
  struct Listener {
    std::set<AttestationId> knows;  // it told them, was told them or said so
    PieceBitmap has;                // by its own word
    NewsLog::Place told = 0;        // of Share::news
    size_t told_heard = 0;          // of Share::heard
  };
  // What this node tells of one blob.
  struct Share {
    Digest blob;
    uint64_t size_bytes = 0;
    std::weak_ptr<ClusterTransfer> transfer;
    std::vector<std::vector<std::shared_ptr<const Attested>>> attested;  // per piece
    size_t attestation_bytes = 0;
    std::set<Digest> known;                       // hashes of them
    std::vector<std::optional<Digest>> promised;  // per piece that is here
    std::map<std::string, Listener> listeners;    // by node
    NewsLog news;                                 // promised pieces
    std::string heard;                            // ids of attestations of others
    bool hashing = false;
    bool seeded = false;  // it was complete here
    SteadyTime last_used{};
  };
  struct Lost {
    std::chrono::milliseconds pause{kFirstRedial};
    SteadyTime next{};  // to be dialled then
  };
  struct Neighbour {
    std::shared_ptr<NeighbourLink> link;
    std::set<Digest> told;  // our Interest
    double messages = 0;    // lately; see Count()
    SteadyTime counted{};
  };

  Share* FindShare(const Digest& blob) REQUIRES(mutex_);
  Share& MakeShare(const Digest& blob, uint64_t size_bytes) REQUIRES(mutex_);
  // Neighbours that were told of the blob, or all of them, hear that it is over.
  void SayGoodbye(const Digest& blob, bool to_all) REQUIRES(mutex_);
  static bool HasRoom(const Share& share, const v1::Attestation& attestation);
  bool AddAttestation(Share& share, const v1::Attestation& attestation, const std::string& by,
                      PieceRun pieces) REQUIRES(mutex_);
  void TellInterest(Neighbour& neighbour, const Share& share) REQUIRES(mutex_);
  void Tell(Share& share, const v1::Attestation& attestation, PieceIndex first,
            const std::vector<Digest>& sums) REQUIRES(mutex_);
  void AddNews(Share& share, PieceIndex first, const std::vector<Digest>& sums) REQUIRES(mutex_);
  void PlanNews(Share& share) REQUIRES(mutex_);
  void TellNews(const Digest& blob);
  static bool IsDue(const Share& share, const Listener& listener);
  static void TellNewsTo(NeighbourLink& link, const Share& share, Listener& listener);
  static void TellPieces(NeighbourLink&, const Share&, Listener&, const v1::News& of_pieces);
  static void TellAll(NeighbourLink& link, const Share& share, Listener& listener);
  Status Count(Neighbour& neighbour, int messages) REQUIRES(mutex_);
  Status OnInterest(NeighbourLink& link, const v1::Interest& interest);
  Status OnHave(NeighbourLink& link, const v1::Have& have);
  Status OnNews(NeighbourLink& link, const v1::News& news);
  Status OnPieces(NeighbourLink& link, const Digest& blob, const std::vector<PieceSum>& pieces);
  void NoteHave(const std::string& id, const Digest& blob, const std::vector<PieceSum>& pieces);
  void NoteKnown(Share& share, const std::string& from, const Digest& attestation) REQUIRES(mutex_);
  void TellAgain(Share& share, PieceRun run) REQUIRES(mutex_);
  Status OnAttestation(const std::string& from, const v1::Attestation& attestation);
  void OnNeighbours(const v1::Neighbours& neighbours);
  void NoteLost(const std::string& node_id) REQUIRES(mutex_);
  void OnSettled(const v1::SettledSums& settled);
  void OnBans(const v1::Bans& bans);
  // Hashes the next pieces of a blob that is complete here and says so.
  void Seed(const Digest& blob);
  void StartSeed(Share& share) REQUIRES(mutex_);
  std::shared_ptr<ClusterTransfer> TransferOf(const Digest& blob) const;
  std::vector<std::shared_ptr<ClusterTransfer>> Transfers() const;

  struct Gate;
  const Options options_;
  const std::shared_ptr<Gate> gate_;  // what timers hold, which may outlive this
  mutable Mutex mutex_;
  CondVar changed_;
  TrackerLink* tracker_ GUARDED_BY(mutex_) = nullptr;
  NeighbourDialer* dialer_ GUARDED_BY(mutex_) = nullptr;
  std::map<std::string, Neighbour> neighbours_ GUARDED_BY(mutex_);
  std::map<Digest, Share> shares_ GUARDED_BY(mutex_);
  std::map<Digest, std::vector<PeerAddress>> wanted_ GUARDED_BY(mutex_);  // the tracker's choice
  std::map<std::string, Lost> lost_ GUARDED_BY(mutex_);  // by node; of those in wanted_
  std::set<std::string> banned_ GUARDED_BY(mutex_);
  std::map<std::string, SteadyTime> shut_out_ GUARDED_BY(mutex_);  // until when
  size_t tasks_ GUARDED_BY(mutex_) = 0;                            // in options_.cpu
};

}  // namespace hearth::p2p
