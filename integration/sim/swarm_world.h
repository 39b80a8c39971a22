// SwarmWorld: the nodes, links, origin and tracker of one simulation. See simulation.h.
#pragma once

#include <array>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <vector>

#include "base/piece_sum.h"
#include "manager/tracker.h"
#include "p2p/attestations.h"
#include "p2p/download.h"
#include "p2p/news_log.h"
#include "p2p/upload_queue.h"
#include "sim/mail.h"
#include "sim/parcel.h"
#include "sim/simulation.h"
#include "sim/timeline.h"

namespace hearth::sim {

inline constexpr uint32_t kNobody = UINT32_MAX;

class SwarmWorld {
 public:
  explicit SwarmWorld(const Options& options);
  Report Run();

 private:
  struct Neighbour {
    uint32_t node = kNobody;
    p2p::SourceId ours{};  // what this node is at that one
    p2p::NewsLog::Place told = 0;
    std::chrono::nanoseconds away{};  // half a round trip
    size_t heard_told = 0;
  };
  // One blob at one node.
  struct Transfer {
    std::unique_ptr<p2p::Download> download;
    std::unique_ptr<p2p::Attestations> sums;          // where somebody may attest what is false
    std::vector<Told> heard;                          // attestations, its own too
    std::set<std::pair<uint32_t, PieceIndex>> known;  // of them
    std::vector<Neighbour> neighbours;                // by SourceId
    std::vector<Content> content;                     // of stored pieces
    std::vector<bool> told;  // may be told to neighbours: not what an earlier life left
    p2p::NewsLog news;
    SteadyTime tick = SteadyTime::max();
    uint32_t life = 0;                           // what is under way for a former one is lost
    uint32_t wrong = 0;                          // tries whose digest disagreed
    std::vector<std::optional<Content>> former;  // what the last of them had
    bool from_origin = false;                    // all of it: too many did
    bool done = false;
  };
  // A node, or the origin, which only sends.
  struct Node {
    std::vector<Transfer> transfers;  // by blob
    manager::Labels labels;
    uint32_t rack = kNobody;
    uint32_t zone = kNobody;
    bool up = true;
    bool serves_garbage = false;
    bool attests_wrong = false;
    bool lies_of_pieces = false;
    bool full = false;     // its disk, halfway
    bool refused = false;  // by the origin
    bool banned = false;
    bool caught = false;  // what it sent or attested failed a check
    uint32_t life = 0;    // counts restarts
    double uplink = 0;
    double downlink = 0;
    std::deque<Ask> queue;  // of the origin: one piece each in turn
    p2p::UploadQueue uploads{{1}};
    std::vector<std::pair<p2p::UploadId, Ask>> waiting;
    uint64_t next_upload = 1;
    std::optional<Ask> sending;
    p2p::UploadId upload{};  // the one on the link
    SteadyTime downlink_free{};
    std::optional<double> done;

    bool lies() const { return serves_garbage || attests_wrong; }
    bool honest() const { return !lies() && !full; }
  };
  struct SharedLink {
    double rate = 0;  // 0 = not there
    SteadyTime free{};
  };

  uint64_t Random();
  bool Chance(double of) { return static_cast<double>(Random() >> 11) * 0x1p-53 < of; }
  std::chrono::nanoseconds RoundTrip(uint32_t a, uint32_t b) const;
  uint64_t Bytes(uint32_t piece) const;
  double Bound() const;
  void MakeLiars(double share, bool Node::*kind);
  bool Cut(uint32_t a, uint32_t b) const;
  bool TrackerAway(SteadyTime now) const;
  void Partition();
  void TrackerGoes();
  void Finish();
  Transfer& At(uint32_t node, uint32_t blob) { return nodes_[node].transfers[blob]; }
  bool IsLive(const Ask& ask) { return nodes_[ask.to].up && At(ask.to, ask.blob).life == ask.life; }

  // Nodes and their cores.
  void Start(uint32_t node);
  void StartTransfer(uint32_t node, uint32_t blob);
  void Restart(uint32_t node);
  void Stop(uint32_t node);
  void StopTransfer(uint32_t node, uint32_t blob);
  void PlanTick(uint32_t node, uint32_t blob);
  void Act(uint32_t node, uint32_t blob);
  void Request(uint32_t node, uint32_t blob, const p2p::Action& action);
  void Cancel(uint32_t node, uint32_t blob, const p2p::Action& action);
  void Announce(uint32_t node, uint32_t blob, const p2p::Action& action);
  void TellNeighbours(uint32_t node, uint32_t blob, PieceIndex piece);
  void SendNews(uint32_t node, uint32_t blob);
  void ReadMail();
  void NoteComplete(uint32_t node, uint32_t blob);
  void Complete(uint32_t node, uint32_t blob);
  void TellRest(uint32_t node, uint32_t blob);
  bool IsNeighbour(uint32_t node, uint32_t blob, p2p::SourceId source, uint32_t peer);
  bool HasRoom(uint32_t node, uint32_t peer) const;
  void Connect(uint32_t a, uint32_t b, uint32_t blob);
  void Meet(uint32_t node, uint32_t blob, p2p::SourceId source);
  void DropPeer(uint32_t node, uint32_t peer, uint32_t blob);

  // Trust.
  bool Trusting() const { return options_.attesting > 0 || !options_.judged; }
  static Digest SumOf(uint32_t piece, Content content);
  Content Falsify(uint32_t node) const;
  bool IsRight(const Parcel& parcel);
  void Attest(uint32_t node, uint32_t blob, PieceIndex piece);
  void Settle(uint32_t node, uint32_t blob, const PieceSum& sum);
  void Agree(uint32_t node, uint32_t blob, const PieceSum& sum);
  void Restore(uint32_t node, uint32_t blob, PieceIndex piece);
  void Vouch(uint32_t node, uint32_t blob, PieceIndex piece);
  void Believe(uint32_t node, uint32_t blob, PieceIndex piece);
  void BlameLiars(uint32_t node, uint32_t blob);
  void Hear(uint32_t node, uint32_t blob, const std::vector<Told>& told);
  void HearHave(uint32_t node, uint32_t blob, p2p::SourceId from,
                std::span<const std::pair<PieceIndex, Content>> pieces);
  void TellHeard(uint32_t node, uint32_t blob, Neighbour& neighbour);
  void Slander(uint32_t liar, uint32_t node, uint32_t blob);
  void Blame(uint32_t node, uint32_t liar, uint32_t blob);
  void Mismatch(uint32_t node, uint32_t blob);

  // Links.
  void Asked(uint32_t from, uint32_t from_life, const Ask& ask);
  void Refuse(uint32_t from, const Ask& ask, p2p::Failure why);
  void Send(uint32_t from);
  bool NextAsk(Node& sender);
  p2p::UploadQueue NewQueue() const;
  void Progress(const Ask& ask, std::chrono::nanoseconds first, std::chrono::nanoseconds length);
  void Sent(uint32_t from);
  SharedLink* LinkOn(const Parcel& parcel);
  void Forward(Parcel parcel);
  void Arrive(const Parcel& parcel);
  void Store(const Parcel& parcel);
  void OriginGoes();
  void Note(uint32_t from, std::chrono::nanoseconds length);

  // The tracker's side.
  void Tell(std::function<void()> event);
  void Enter(uint32_t node, uint32_t blob);
  void Answer();
  void Obey(uint32_t node, const manager::TrackerAction& action);
  void Ban(uint32_t node);

  const Options options_;
  const uint64_t piece_size_bytes_;
  const uint32_t pieces_;
  const uint32_t origin_;  // its number among nodes_
  std::vector<Digest> blobs_;
  Timeline timeline_;
  manager::Tracker tracker_;
  std::vector<Node> nodes_;
  Mail mail_;
  std::vector<uint32_t> to_tell_;                  // of SendNews()
  std::vector<bool> complete_;                     // by node, then blob; as it tells its neighbours
  std::vector<PieceIndex> to_ask_;                 // of HearHave()
  std::array<std::vector<SharedLink>, 4> shared_;  // rack up, zone up, zone down, rack down
  std::vector<bool> left_origin_;                  // pieces of all blobs
  uint64_t kept_ = 0;                              // pieces, of all nodes
  uint32_t at_origin_;                             // pieces that no node has stored yet
  uint64_t random_;
  Report report_;
};

}  // namespace hearth::sim
