// Download: which source brings which piece of one blob, and when; the thinking of a transfer.
//
// Plain state: events and the time go in, actions come out of Take(); no I/O, no clock, no lock.
// Whoever owns it guards it, carries the actions out and tells how they ended. Peers and the origin
// are one kind of source; the origin has the pieces that this node holds leases for, is asked for
// runs, and comes first because nobody else fetches those. A source that brings next to nothing in
// kStallAfter is snubbed, one that sent a wrong piece is blamed and never asked again.
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/piece.h"
#include "p2p/picker.h"

namespace hearth::p2p {

enum class RequestId : uint64_t {};

// What the owner is to do.
struct Action {
  enum class Kind : uint8_t {
    kRequest,   // ask `source` for `run` under `request`
    kCancel,    // nobody waits for `request` any more; no event may follow for it
    kAnnounce,  // tell the neighbours that run.first is here
    kBlame,     // `source` sent a wrong run.first; tell the tracker
    kMissing,   // no source has `run`, at most kMaxMissingRuns of them; tell the tracker
    kComplete,  // every piece is here: check the digest
    kGiveUp,    // no source brought anything for kGiveUpAfter
  };
  Kind kind;
  SourceId source{};
  RequestId request{};
  PieceRun run;
};

// Why a request ended without its piece.
enum class Failure : uint8_t {
  kBusy,         // the source's queue is full: ask again soon
  kUnavailable,  // connection lost, 5xx: ask again later
  kNotThere,     // it does not have the piece, whatever it announced
  kRefused,      // credentials: never ask again
};

class Download {
 public:
  // Fewer bytes than kLeastBytes of a source in kStallAfter: snub. It must not be enough to send a
  // byte now and then.
  static constexpr std::chrono::seconds kStallAfter{2};
  static constexpr uint64_t kLeastBytes = 4 * 1024;
  static constexpr std::chrono::seconds kSnubFor{4};  // doubles up to kMaxSnub
  static constexpr std::chrono::seconds kMaxSnub{60};
  static constexpr std::chrono::milliseconds kBusyPause{20};
  static constexpr std::chrono::seconds kStarvedAfter{2};  // nothing to ask: kMissing
  static constexpr size_t kMaxMissingRuns = 64;
  // No piece came, for whatever reason: this node fetches from the origin without a lease.
  static constexpr std::chrono::seconds kAloneAfter{10};
  static constexpr std::chrono::seconds kAloneWithoutTracker{1};  // and nothing is to be asked
  static constexpr std::chrono::seconds kGiveUpAfter{25};  // who waits hears of it within 30 s
  static constexpr std::chrono::milliseconds kQueueTarget{250};  // of asked-for data, per node
  static constexpr uint32_t kMinRequests = 24;                   // at once, over all peers
  static constexpr uint32_t kMaxRequests = 64;
  static constexpr uint32_t kMaxDepth = 8;     // at once, at one peer
  static constexpr size_t kRoundTrips = 8;     // remembered of a source
  static constexpr uint32_t kHedgeFactor = 3;  // × the usual time of a request
  static constexpr std::chrono::milliseconds kMinHedgeAge{200};
  static constexpr uint32_t kMaxHedges = 4;  // at once
  static constexpr uint64_t kOriginRunBytes = 8 << 20;

  struct Options {
    uint64_t size_bytes = 0;
    uint64_t piece_size_bytes = 0;
    uint64_t seed = 0;
  };
  Download(Options options, SteadyTime now);

  // It is here, and right, without having been asked for. Complete by this, nobody is told
  // (kComplete).
  void AddPresent(PieceIndex piece, SteadyTime now);
  // The same of what a former life of the blob left: nobody remembers who said what it hashes to.
  // See Picker::SetKept; AddPresent() once somebody vouches for it.
  void AddKept(PieceIndex piece) { picker_.SetKept(piece); }
  // nullopt: kMaxSources are here already. `round_trip`: until Answered() says more.
  std::optional<SourceId> AddPeer(std::chrono::nanoseconds round_trip, SteadyTime now);
  void RemovePeer(SourceId peer, SteadyTime now);
  void PeerHas(SourceId peer, const std::vector<PieceIndex>& pieces, SteadyTime now);
  // What peers have of the piece is not what is wanted now: they are not asked for it until they
  // announce it again.
  void PeersHaveNot(PieceIndex piece, SteadyTime now);
  // This node, and nobody else now, may fetch the run from the origin; until it is taken back.
  void GrantLease(PieceRun run, SteadyTime now);
  void RevokeLease(PieceRun run, SteadyTime now);
  // Is the tracker there to grant leases? Taken for so until told.
  void SetTracker(bool reachable, SteadyTime now);
  void SetWindow(PieceRun window, SteadyTime now);

  // Events of requests; one for a request that has ended is ignored.
  void Progress(RequestId request, uint64_t bytes, SteadyTime now);
  // From the ask to its first byte. Of the last kRoundTrips the shortest counts: the others waited
  // in the source's queue.
  void Answered(RequestId request, std::chrono::nanoseconds took);
  // It waits, and not for its source.
  void Excuse(RequestId request, SteadyTime now);
  void PieceArrived(RequestId request, PieceIndex piece, bool right, SteadyTime now);
  void Failed(RequestId request, Failure why, SteadyTime now);
  // Stalls, hedges and pauses that end; call it at NextTick() at the latest.
  void Tick(SteadyTime now);
  SteadyTime NextTick() const { return next_tick_; }

  // What to do, in order; empties the list.
  std::vector<Action> Take();

  bool complete() const { return picker_.missing() == 0; }
  const Picker& picker() const { return picker_; }
  size_t requests() const { return requests_.size(); }
  // Of all origin leases, pieces that are not here yet.
  uint32_t LeasedMissing() const;
  std::string Picture() const { return picker_.Picture(); }

 private:
  struct Source {
    bool added = false;
    bool banned = false;
    uint32_t outstanding = 0;  // requests
    SteadyTime paused_until{};
    double seconds_per_piece = 0;             // smoothed; 0 = not known yet
    std::chrono::nanoseconds round_trip{};    // at least
    SteadyTime last_byte{};                   // when kLeastBytes were full
    uint64_t bytes = 0;                       // since then
    std::chrono::nanoseconds snub{kSnubFor};  // the next one's length
    size_t answered = 0;
    std::array<std::chrono::nanoseconds, kRoundTrips> answers{};
  };
  struct Request {
    RequestId id;
    SourceId source;
    PieceRun run;  // what is still to come
    SteadyTime asked;
    bool hedge = false;
  };

  Source& At(SourceId source) { return sources_[static_cast<uint32_t>(source)]; }
  bool Usable(const Source& source, SteadyTime now) const;
  std::chrono::nanoseconds RoundTrip(const Source& source) const;
  uint32_t Depth(const Source& source) const;
  uint32_t Budget() const;
  double Score(const Source& source) const;
  void AskAll(SteadyTime now);
  bool AskPeer(SourceId peer, SteadyTime now);
  void AskOrigin(SteadyTime now);
  SteadyTime::duration HedgeAge() const;
  void PlanHedge(SteadyTime now);
  void Hedge(SteadyTime now);
  void TellMissing();
  void GoAlone(SteadyTime now);
  void AskOriginToo(SteadyTime now);
  void Ask(SourceId source, PieceRun run, bool hedge, SteadyTime now);
  std::vector<Request>::iterator Find(RequestId id);
  void End(std::vector<Request>::iterator request);
  void CancelRequests(PieceIndex piece, bool origin_too);
  void CancelAllOf(SourceId source);
  void Learn(Source& source, const Request& request, SteadyTime now);
  void Snub(SourceId source, SteadyTime now);

  const Options options_;
  Picker picker_;
  std::vector<Source> sources_;
  std::vector<Request> requests_;  // oldest first, at most kMaxRequests and the origin's
  std::vector<Action> actions_;
  uint64_t next_request_ = 1;
  uint32_t peer_requests_ = 0;
  uint32_t hedges_ = 0;
  double usual_seconds_ = 0;        // of a peer's request, smoothed
  double arrivals_per_second_ = 0;  // pieces, smoothed
  SteadyTime last_arrival_;         // of a piece
  SteadyTime last_progress_;        // of any source
  SteadyTime last_missing_;
  SteadyTime next_tick_;
  bool tracker_ = true;
  bool alone_ = false;  // fetches from the origin without leases
  bool gave_up_ = false;
};

}  // namespace hearth::p2p
