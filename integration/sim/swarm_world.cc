// The course of a simulation: what there is, what happens to it, what came of it.
#include "sim/swarm_world.h"

#include <algorithm>
#include <string>
#include <utility>

#include "base/status.h"

namespace hearth::sim {

namespace {

using std::chrono::milliseconds;
using std::chrono::nanoseconds;

constexpr nanoseconds kTrackerTick = std::chrono::seconds(1);
constexpr nanoseconds kSettle = milliseconds(200);
constexpr double kSlowLink = 0.1;

nanoseconds Time(double seconds) { return nanoseconds(static_cast<int64_t>(seconds * 1e9)); }

uint64_t Mix(uint64_t x) {  // splitmix64
  x += 0x9e3779b97f4a7c15;
  x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9;
  x = (x ^ x >> 27) * 0x94d049bb133111eb;
  return x ^ x >> 31;
}

}  // namespace

SwarmWorld::SwarmWorld(const Options& options)
    : options_(options),
      piece_size_bytes_(PieceSizeFor(options.size_bytes)),
      pieces_(PieceCount(options.size_bytes, piece_size_bytes_)),
      origin_(options.nodes),
      tracker_(options.seed),
      nodes_(options.nodes + 1),
      mail_(options.nodes, options.max_round_trip / 2),
      complete_(size_t{options.nodes} * options.blobs),
      left_origin_(pieces_ * options.blobs),
      at_origin_(pieces_ * options.blobs),
      random_(Mix(options.seed)) {
  for (uint32_t blob = 0; blob < options_.blobs; ++blob) {
    blobs_.push_back(Digest::Of("blob" + std::to_string(blob)));
  }
  for (uint32_t number = 0; number < options_.nodes; ++number) {
    Node& node = nodes_[number];
    const double share = Chance(options_.slow) ? kSlowLink : 1;
    node.uplink = options_.uplink * share;
    node.downlink = options_.downlink * share;
    node.lies_of_pieces = Chance(options_.lying_bitmaps);
    node.full = Chance(options_.full);
    node.refused = Chance(options_.refused);
    node.uploads = NewQueue();
    node.rack = number % options_.racks;
    node.zone = node.rack % options_.zones;
    node.labels = {"region", "zone" + std::to_string(node.zone),
                   "rack" + std::to_string(node.rack)};
    node.transfers.resize(options_.blobs);
  }
  MakeLiars(options_.lying, &Node::serves_garbage);
  MakeLiars(options_.attesting, &Node::attests_wrong);
  report_.honest = static_cast<uint32_t>(
      std::ranges::count_if(nodes_, [](const Node& node) { return node.honest(); }) - 1);
  nodes_[origin_].uplink = options_.origin;
  for (const size_t end : {0, 3}) shared_[end].resize(options_.racks, {options_.rack_link, {}});
  for (const size_t end : {1, 2}) shared_[end].resize(options_.zones, {options_.zone_link, {}});
  report_.bound_seconds = report_.restart_bound_seconds = Bound();
}

// That share of the nodes, to the nearest: chance would now and then make most of them liars.
void SwarmWorld::MakeLiars(double share, bool Node::*kind) {
  auto left = static_cast<uint32_t>(share * options_.nodes + 0.5);
  for (uint32_t number = 0; number < options_.nodes; ++number) {
    if (Random() % (options_.nodes - number) >= left) continue;
    nodes_[number].*kind = true;
    --left;
  }
}

Report SwarmWorld::Run() {
  for (uint32_t node = 0; node < options_.nodes; ++node) {
    Start(node);
    if (!Chance(options_.churn)) continue;
    const double when = static_cast<double>(Random() % 1000) / 1000 * report_.bound_seconds;
    timeline_.After(Time(when), [this, node] { Restart(node); });
    const double least =
        static_cast<double>(options_.size_bytes) * options_.blobs / nodes_[node].downlink;
    if (!nodes_[node].honest() || when >= least) continue;
    const double away = std::chrono::duration<double>(options_.away).count();
    report_.restart_bound_seconds = std::max(report_.restart_bound_seconds, least + away);
  }
  if (options_.origin_outage) {
    timeline_.After(options_.origin_outage->from, [this] { OriginGoes(); });
  }
  if (options_.partition) timeline_.After(options_.partition->from, [this] { Partition(); });
  if (options_.tracker_outage) {
    timeline_.After(options_.tracker_outage->from, [this] { TrackerGoes(); });
  }
  if (options_.origin_goes_when == 0) OriginGoes();
  const double limit = 100 * report_.bound_seconds + 600;
  SteadyTime next_tick = SteadyTime{} + kTrackerTick;
  while (report_.complete < report_.honest && timeline_.seconds() < limit && timeline_.Step()) {
    if (timeline_.now() < next_tick) continue;
    next_tick = timeline_.now() + kTrackerTick;
    if (TrackerAway(timeline_.now())) continue;
    tracker_.Tick(timeline_.now());
    Answer();
  }
  Finish();
  return report_;
}

void SwarmWorld::Finish() {
  std::vector<double> times;
  for (const Node& node : nodes_) {
    if (node.done && node.honest()) times.push_back(*node.done);
  }
  std::ranges::sort(times);
  report_.seconds = times.empty() ? timeline_.seconds() : times.back();
  report_.median_seconds = times.empty() ? 0 : times[times.size() / 2];
  report_.steps = timeline_.steps();
  // What is on its way ends by itself.
  const SteadyTime settled = timeline_.now() + kSettle;
  while (timeline_.now() < settled && timeline_.Step()) {
  }
  std::set<uint32_t> named;
  for (const auto& accused : tracker_.blame().AllAccused()) named.insert(uint32_t(accused.node));
  for (uint32_t number = 0; number < options_.nodes; ++number) {
    const Node& node = nodes_[number];
    report_.unnamed += node.caught && !node.banned && !named.contains(number) ? 1 : 0;
    if (!node.done || !node.up) continue;
    for (const Transfer& transfer : node.transfers) {
      report_.outstanding += transfer.download->requests() + transfer.download->LeasedMissing();
    }
    report_.outstanding += report_.complete == report_.honest ? node.uploads.waiting() : 0;
  }
}

// No schedule beats the origin's link, the slowest downlink, the links that a rack or a zone
// shares, and all uplinks together.
double SwarmWorld::Bound() const {
  const double size = static_cast<double>(options_.size_bytes) * options_.blobs;
  double uplinks = 0, down = options_.downlink;
  for (const Node& node : nodes_) {
    uplinks += node.uplink;
    if (node.downlink > 0 && node.honest()) down = std::min(down, node.downlink);
  }
  if (options_.rack_link > 0) down = std::min(down, options_.rack_link);
  if (options_.zone_link > 0) down = std::min(down, options_.zone_link);
  return std::max({size / options_.origin, size / down, report_.honest * size / uplinks});
}

uint64_t SwarmWorld::Random() { return random_ = Mix(random_); }

nanoseconds SwarmWorld::RoundTrip(uint32_t a, uint32_t b) const {
  const bool near = options_.racks > 1 && nodes_[a].rack == nodes_[b].rack;
  if (near) return options_.min_round_trip;
  const uint64_t pair = uint64_t{std::min(a, b)} << 32 | std::max(a, b);
  const auto span =
      static_cast<uint64_t>((options_.max_round_trip - options_.min_round_trip).count());
  return options_.min_round_trip +
         std::chrono::microseconds(Mix(pair ^ Mix(options_.seed)) % (span + 1));
}

uint64_t SwarmWorld::Bytes(uint32_t piece) const {
  return std::min(piece_size_bytes_, options_.size_bytes - piece * piece_size_bytes_);
}

bool SwarmWorld::Cut(uint32_t a, uint32_t b) const {
  return options_.partition && options_.partition->Covers(timeline_.now()) && a != origin_ &&
         b != origin_ && a % 2 != b % 2;
}

bool SwarmWorld::TrackerAway(SteadyTime now) const {
  return options_.tracker_outage && options_.tracker_outage->Covers(now);
}

// Connections across break; once it heals, who was connected connects again.
void SwarmWorld::Partition() {
  for (uint32_t a = 0; a < options_.nodes; ++a) {
    for (uint32_t blob = 0; blob < options_.blobs; ++blob) {
      for (const Neighbour& neighbour : std::vector(At(a, blob).neighbours)) {
        const uint32_t b = neighbour.node;
        if (b == kNobody || !Cut(a, b)) continue;
        DropPeer(a, b, blob);
        if (a > b) continue;
        timeline_.At(SteadyTime{} + options_.partition->until,
                     [this, a, b, blob] { Connect(a, b, blob); });
      }
    }
  }
}

void SwarmWorld::TrackerGoes() {
  const auto tell = [this](bool reachable) {
    for (uint32_t number = 0; number < options_.nodes; ++number) {
      for (uint32_t blob = 0; blob < options_.blobs; ++blob) {
        if (!nodes_[number].up || nodes_[number].banned) continue;
        At(number, blob).download->SetTracker(reachable, timeline_.now());
        Act(number, blob);
        if (reachable) Enter(number, blob);
      }
    }
  };
  tell(false);
  timeline_.At(SteadyTime{} + options_.tracker_outage->until, [tell] { tell(true); });
}

void SwarmWorld::OriginGoes() {
  Node& origin = nodes_[origin_];
  if (options_.origin_goes_when) origin.up = false;
  ++origin.life;
  for (const Ask& ask : std::exchange(origin.queue, {})) {
    Refuse(origin_, ask, p2p::Failure::kUnavailable);
  }
  if (const auto ask = std::exchange(origin.sending, std::nullopt)) {
    Refuse(origin_, *ask, p2p::Failure::kUnavailable);
  }
}

}  // namespace hearth::sim
