// Simulation: a cluster of virtual nodes that fetch blobs at the same moment, in virtual time.
//
// The nodes run the picker, the download, the attestations, the upload queue and the tracker of the
// real ones; only links, clock and messages are imagined. One thread, no I/O; the same options give
// the same result everywhere.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <vector>

#include "base/clock.h"
#include "base/status.h"

namespace hearth::sim {

// From when until when something does not answer.
struct Outage {
  std::chrono::nanoseconds from{};
  std::chrono::nanoseconds until{};

  bool Covers(SteadyTime now) const {
    return now - SteadyTime{} >= from && now - SteadyTime{} < until;
  }
};

struct Options {
  static constexpr uint32_t kMaxNodes = 20'000;
  static constexpr uint64_t kMaxSizeBytes = uint64_t{1} << 40;
  static constexpr uint32_t kMaxBlobs = 64;

  uint32_t nodes = 100;
  uint64_t size_bytes = 256 << 20;
  uint32_t blobs = 1;  // of that size each; every node wants all
  bool judged = true;  // they have digests
  uint64_t seed = 1;
  // Bytes per second of each node's links and of the origin's.
  double uplink = 125e6;
  double downlink = 125e6;
  double origin = 125e6;
  // Round trips: `min_round_trip` within a rack, else anything up to `max_round_trip`.
  std::chrono::microseconds min_round_trip{1'000};
  std::chrono::microseconds max_round_trip{80'000};
  std::chrono::microseconds request_cost{200};  // of the uploader, per piece
  uint32_t racks = 1;
  uint32_t zones = 1;  // racks take turns in them
  // Bytes per second that all nodes of a rack or a zone share, each way; 0 = as much as they like.
  double rack_link = 0;
  double zone_link = 0;
  // Fractions from 0 to 1.
  double loss = 0;           // of requests whose connection breaks
  double lying = 0;          // of nodes that serve wrong bytes
  double lying_bitmaps = 0;  // of nodes that announce pieces which they do not have
  double attesting = 0;      // of nodes that falsify what they fetch, and attest that
  bool together = true;      // they agree on the false bytes; all liars accuse every neighbour
  double slow = 0;           // of nodes with a tenth of the links
  double churn = 0;          // of nodes that restart once, at some time before the bound
  double full = 0;           // of nodes whose disk is full halfway: they leave
  double refused = 0;        // of nodes whose credentials the origin refuses
  bool ranges = true;        // of the origin
  std::chrono::milliseconds away{5000};  // how long a restart takes
  std::optional<Outage> origin_outage;
  std::optional<Outage> tracker_outage;
  std::optional<Outage> partition;         // between nodes of even and of odd numbers
  std::optional<double> origin_goes_when;  // for good, once this share of the pieces has left it

  // What is broken on purpose, so that tests see their own checks fail.
  enum class Broken : uint8_t {
    kNothing,
    kChecks,   // nodes believe what they get
    kLeases,   // the tracker leases each piece twice
    kTicks,    // nodes never look at the clock: no stall is seen, nothing missed, nobody alone
    kQueues,   // uploaders take in whatever is asked
    kCancels,  // nodes do not say what they want no more
    kBlame,    // nobody is named, whatever a check finds
    kBans,     // one node's word bans
  };
  Broken broken = Broken::kNothing;
};

// What the links did in one slice of the time, and how far the nodes were at its end.
struct Slice {
  double uplinks = 0;  // busy, of all nodes' together: 0 to 1
  double origin = 0;   // the same of the origin's link
  double have = 0;     // of all pieces that the honest nodes want
  friend bool operator==(const Slice&, const Slice&) = default;
};

struct Report {
  static constexpr double kSliceOfBound = 0.05;
  std::vector<Slice> slices;  // each kSliceOfBound of the bound long
  double seconds = 0;         // until the last honest node has everything
  double median_seconds = 0;
  double bound_seconds = 0;  // no schedule is faster: links alone
  // The same where nodes restart before their links can have brought everything: what these would
  // bring meanwhile comes later.
  double restart_bound_seconds = 0;
  uint64_t origin_bytes = 0;
  uint64_t cross_rack_bytes = 0;  // between nodes of different racks
  uint64_t wasted_bytes = 0;      // sent by anybody and not kept
  uint64_t control_messages = 0;  // requests, cancels, HAVEs, connections, to and from the tracker
  uint64_t busy_answers = 0;
  uint32_t honest = 0;
  uint32_t complete = 0;      // of the honest
  uint32_t wrong = 0;         // complete with a wrong byte; must be 0
  uint32_t gave_up = 0;       // times that a download saw nothing for 30 s
  uint64_t served_wrong = 0;  // pieces sent by an honest node against their sum; must be 0
  uint32_t mismatches = 0;    // times that a blob's digest disagreed
  size_t most_waiting = 0;    // requests at one node at once, its own and those of others
  size_t outstanding = 0;     // requests and leases left once all honest nodes are done; must be 0
  uint32_t banned = 0;
  uint32_t banned_honest = 0;  // of these; must be 0
  uint32_t unnamed = 0;        // liars whose bytes failed a check, and nobody accused; must be 0
  uint64_t steps = 0;

  double Ratio() const { return seconds / bound_seconds; }
  friend bool operator==(const Report&, const Report&) = default;
};

// kInvalidArgument names the option that makes no sense. Ends when every honest node has the blob
// or at 100 × the bound and ten minutes.
Result<Report> Simulate(const Options& options);

}  // namespace hearth::sim
