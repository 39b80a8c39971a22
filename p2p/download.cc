#include "p2p/download.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <utility>

#include "base/status.h"

namespace hearth::p2p {

namespace {

constexpr std::chrono::milliseconds kTick{500};
constexpr std::chrono::milliseconds kHedgeTick{50};
constexpr double kSmooth = 0.2;

double Seconds(std::chrono::nanoseconds time) {
  return std::chrono::duration<double>(time).count();
}

void Smooth(double& mean, double value) {
  mean = mean == 0 ? value : mean + kSmooth * (value - mean);
}

}  // namespace

Download::Download(Options options, SteadyTime now)
    : options_(options),
      picker_(PieceCount(options.size_bytes, options.piece_size_bytes), options.seed),
      sources_(kMaxSources),
      last_arrival_(now),
      last_progress_(now),
      last_missing_(now),
      next_tick_(now + kTick) {
  picker_.AddSource(kOriginSource);
  At(kOriginSource).added = true;
}

void Download::PieceArrived(RequestId id, PieceIndex piece, bool right, SteadyTime now) {
  const auto request = Find(id);
  if (request == requests_.end() || request->run.first != piece) return;
  const SourceId source = request->source;
  if (!right) {
    if (source != kOriginSource) At(source).banned = true;
    actions_.push_back({Action::Kind::kBlame, source, id, {piece, 1}});
    CancelAllOf(source);
    AskAll(now);
    return;
  }
  Learn(At(source), *request, now);
  picker_.SetPresent(piece);
  picker_.Ended(source, piece);
  request->run = {PieceIndex{request->run.begin() + 1}, request->run.count - 1};
  request->asked = now;
  if (request->run.count == 0) End(request);
  CancelRequests(piece, /*origin_too=*/true);
  actions_.push_back({Action::Kind::kAnnounce, source, id, {piece, 1}});
  if (complete()) {
    while (!requests_.empty()) CancelAllOf(requests_.front().source);
    actions_.push_back({Action::Kind::kComplete, {}, {}, {}});
    return;
  }
  AskAll(now);
}

void Download::Failed(RequestId id, Failure why, SteadyTime now) {
  const auto request = Find(id);
  if (request == requests_.end()) return;
  const SourceId source = request->source;
  const PieceRun run = request->run;
  End(request);
  switch (why) {
    case Failure::kBusy:
      At(source).paused_until = now + kBusyPause;
      next_tick_ = std::min(next_tick_, now + kBusyPause);
      break;
    case Failure::kUnavailable:
      Snub(source, now);
      break;
    case Failure::kNotThere:
      for (uint32_t piece = run.begin(); piece < run.end(); ++piece) {
        picker_.SourceLost(source, PieceIndex{piece});
      }
      break;
    case Failure::kRefused:
      At(source).banned = true;
      CancelAllOf(source);
      break;
  }
  AskAll(now);
}

void Download::Tick(SteadyTime now) {
  next_tick_ = now + kTick;
  if (complete()) return;
  for (uint32_t number = 0; number < kMaxSources; ++number) {
    const Source& source = sources_[number];
    if (source.added && source.outstanding > 0 && now - source.last_byte >= kStallAfter) {
      Snub(SourceId{number}, now);
    }
  }
  AskAll(now);
  Hedge(now);
  PlanHedge(now);
  if (requests_.empty() && now - std::max(last_arrival_, last_missing_) >= kStarvedAfter) {
    last_missing_ = now;
    TellMissing();
  }
  GoAlone(now);
  if (!gave_up_ && now - last_progress_ >= kGiveUpAfter) {
    gave_up_ = true;
    actions_.push_back({Action::Kind::kGiveUp, {}, {}, {}});
  }
}

// From anywhere on, so that nodes which miss many runs tell of different ones.
void Download::TellMissing() {
  const auto is_missing = [this](uint32_t piece) {
    return !picker_.IsPresent(PieceIndex{piece}) && picker_.Holders(PieceIndex{piece}) == 0;
  };
  auto start = static_cast<uint32_t>(picker_.RandomMissing().value_or(PieceIndex{0}));
  while (start > 0 && is_missing(start - 1)) --start;
  size_t runs = 0;
  for (const auto& [begin, end] : {std::pair{start, picker_.pieces()}, std::pair{0U, start}}) {
    for (uint32_t piece = begin; piece < end && runs < kMaxMissingRuns; ++piece) {
      if (!is_missing(piece)) continue;
      const uint32_t first = piece;
      while (piece < end && is_missing(piece)) ++piece;
      ++runs;
      actions_.push_back({Action::Kind::kMissing, {}, {}, {PieceIndex{first}, piece - first}});
    }
  }
}

// Nobody brings what is missing and nobody leases it: neither a lying or slow peer nor a tracker
// that is away keeps this node from the origin. It starts anywhere, so that nodes in the same need
// fetch different pieces and share them.
void Download::GoAlone(SteadyTime now) {
  const auto wait = tracker_ || !requests_.empty() ? kAloneAfter : kAloneWithoutTracker;
  const Source& origin = At(kOriginSource);
  if (complete() || origin.outstanding > 0 || !Usable(origin, now)) return;
  if (!alone_ && now - last_arrival_ < wait) return;
  alone_ = true;
  const auto most =
      static_cast<uint32_t>(std::max<uint64_t>(1, kOriginRunBytes / options_.piece_size_bytes));
  const auto start = picker_.RandomMissing();
  if (!start) return AskOriginToo(now);
  for (uint32_t piece = static_cast<uint32_t>(*start), left = most;
       left > 0 && piece < picker_.pieces() && !picker_.IsPresent(PieceIndex{piece});
       --left, ++piece) {
    picker_.SourceHas(kOriginSource, PieceIndex{piece});
  }
  AskOrigin(now);
}

// Every piece is asked for: the oldest one that only one source was asked for.
void Download::AskOriginToo(SteadyTime now) {
  for (const Request& request : requests_) {
    if (picker_.Requests(request.run.first) > 1) continue;
    return Ask(kOriginSource, {request.run.first, 1}, false, now);
  }
}

// The origin's leases first: nobody else brings those. Then peers, the least loaded first, until
// the node has asked for as much as its own link takes in kQueueTarget.
void Download::AskAll(SteadyTime now) {
  if (complete()) return;
  AskOrigin(now);
  std::vector<std::pair<double, uint32_t>> order;
  if (peer_requests_ < Budget() && picker_.unasked() > 0) {
    for (uint64_t left = picker_.Offering(); left != 0; left &= left - 1) {
      const auto number = static_cast<uint32_t>(std::countr_zero(left)) + 1;
      const Source& source = sources_[number];
      if (Usable(source, now) && source.outstanding < Depth(source)) {
        order.emplace_back(Score(source), number);
      }
    }
    std::ranges::sort(order);
  }
  // Who has nothing for us now is not looked at twice.
  for (auto next = order.begin();
       next != order.end() && peer_requests_ < Budget() && picker_.unasked() > 0;) {
    const Source& source = sources_[next->second];
    const bool asked = AskPeer(SourceId{next->second}, now);
    if (!asked || source.outstanding >= Depth(source)) {
      ++next;
      continue;
    }
    next->first = Score(source);
    std::rotate(next, next + 1, std::upper_bound(next + 1, order.end(), *next));
  }
  if (alone_) GoAlone(now);
}

bool Download::AskPeer(SourceId peer, SteadyTime now) {
  const auto piece = picker_.Pick(peer);
  if (!piece) return false;
  alone_ = false;
  Ask(peer, {*piece, 1}, false, now);
  return true;
}

void Download::AskOrigin(SteadyTime now) {
  const Source& origin = At(kOriginSource);
  if (!Usable(origin, now) || origin.outstanding >= 2) return;
  const auto most =
      static_cast<uint32_t>(std::max<uint64_t>(1, kOriginRunBytes / options_.piece_size_bytes));
  while (origin.outstanding < 2) {
    const auto run = picker_.PickRun(kOriginSource, most);
    if (!run) return;
    Ask(kOriginSource, *run, false, now);
  }
}

SteadyTime::duration Download::HedgeAge() const {
  const std::chrono::duration<double> age(kHedgeFactor * usual_seconds_);
  return std::max<SteadyTime::duration>(kMinHedgeAge,
                                        std::chrono::duration_cast<SteadyTime::duration>(age));
}

// At the end one late piece is all that a node waits for: it is looked at when it is late, not at
// the next tick.
void Download::PlanHedge(SteadyTime now) {
  if (picker_.unasked() > 0) return;
  const auto oldest = std::ranges::find_if(requests_, [&](const Request& request) {
    return request.source != kOriginSource &&
           picker_.Requests(request.run.first) < Picker::kMaxRequestsPerPiece;
  });
  if (oldest == requests_.end()) return;
  next_tick_ = std::min(next_tick_, std::max(oldest->asked + HedgeAge(), now + kHedgeTick));
}

// A request that takes much longer than usual gets a second source: for what a reader waits for,
// and when nothing is left that nobody was asked for.
void Download::Hedge(SteadyTime now) {
  const auto age = HedgeAge();
  for (size_t i = 0; i < requests_.size() && hedges_ < kMaxHedges; ++i) {
    const Request request = requests_[i];
    const PieceIndex piece = request.run.first;
    if (request.source == kOriginSource || now - request.asked < age) continue;
    if (picker_.Requests(piece) >= Picker::kMaxRequestsPerPiece) continue;
    if (picker_.unasked() > 0 && !picker_.InWindow(piece)) continue;
    std::optional<SourceId> best;
    for (uint32_t number = 1; number < kMaxSources; ++number) {
      const Source& source = sources_[number];
      if (!Usable(source, now) || SourceId{number} == request.source) continue;
      if (!picker_.Has(SourceId{number}, piece) || source.outstanding >= kMaxDepth) continue;
      if (!best || Score(source) < Score(At(*best))) best = SourceId{number};
    }
    if (best) Ask(*best, {piece, 1}, true, now);
  }
}

void Download::Ask(SourceId id, PieceRun run, bool hedge, SteadyTime now) {
  Source& source = At(id);
  if (source.outstanding++ == 0) {
    source.last_byte = now;
    source.bytes = 0;
  }
  for (uint32_t piece = run.begin(); piece < run.end(); ++piece) {
    picker_.Asked(id, PieceIndex{piece});
  }
  if (id != kOriginSource) ++peer_requests_;
  hedges_ += hedge ? 1 : 0;
  requests_.push_back({RequestId{next_request_}, id, run, now, hedge});
  actions_.push_back({Action::Kind::kRequest, id, RequestId{next_request_++}, run});
  PlanHedge(now);
}

void Download::End(std::vector<Request>::iterator request) {
  for (uint32_t piece = request->run.begin(); piece < request->run.end(); ++piece) {
    picker_.Ended(request->source, PieceIndex{piece});
  }
  --At(request->source).outstanding;
  if (request->source != kOriginSource) --peer_requests_;
  hedges_ -= request->hedge ? 1 : 0;
  requests_.erase(request);
}

void Download::CancelRequests(PieceIndex piece, bool origin_too) {
  for (size_t i = 0; i < requests_.size();) {
    const bool spared = requests_[i].source == kOriginSource && !origin_too;
    if (requests_[i].run != PieceRun{piece, 1} || spared) {
      ++i;
      continue;
    }
    actions_.push_back({Action::Kind::kCancel, requests_[i].source, requests_[i].id, {}});
    End(requests_.begin() + static_cast<std::ptrdiff_t>(i));
  }
}

void Download::CancelAllOf(SourceId source) {
  for (size_t i = 0; i < requests_.size();) {
    if (requests_[i].source != source) {
      ++i;
      continue;
    }
    actions_.push_back({Action::Kind::kCancel, source, requests_[i].id, {}});
    End(requests_.begin() + static_cast<std::ptrdiff_t>(i));
  }
}

void Download::Snub(SourceId id, SteadyTime now) {
  CancelAllOf(id);
  Source& source = At(id);
  source.paused_until = now + source.snub;
  source.snub = std::min<std::chrono::nanoseconds>(2 * source.snub, kMaxSnub);
}

void Download::Learn(Source& source, const Request& request, SteadyTime now) {
  source.last_byte = now;
  source.bytes = 0;
  source.snub = kSnubFor;
  Smooth(source.seconds_per_piece, Seconds(now - request.asked) / std::max(1u, source.outstanding));
  if (request.source != kOriginSource) Smooth(usual_seconds_, Seconds(now - request.asked));
  const double gap = std::max(1e-6, Seconds(now - last_arrival_));
  // Pieces come in bursts: the mean of gaps, not of their inverses.
  double mean_gap = arrivals_per_second_ == 0 ? gap : 1 / arrivals_per_second_;
  mean_gap += kSmooth / 2 * (std::min(gap, 1.0) - mean_gap);
  arrivals_per_second_ = 1 / mean_gap;
  last_arrival_ = last_progress_ = now;
}

bool Download::Usable(const Source& source, SteadyTime now) const {
  return source.added && !source.banned && source.paused_until <= now;
}

std::chrono::nanoseconds Download::RoundTrip(const Source& source) const {
  const auto known = std::min(source.answered, kRoundTrips);
  if (known == 0) return source.round_trip;
  return std::max(source.round_trip,
                  *std::min_element(source.answers.begin(), source.answers.begin() + known));
}

// Bandwidth × delay in pieces, and one on the way.
uint32_t Download::Depth(const Source& source) const {
  if (source.seconds_per_piece == 0) return 1;
  const double pieces = Seconds(RoundTrip(source)) / source.seconds_per_piece;
  return std::min<uint32_t>(kMaxDepth, 1 + static_cast<uint32_t>(std::ceil(pieces)));
}

uint32_t Download::Budget() const {
  const double wanted = arrivals_per_second_ * (Seconds(kQueueTarget) + usual_seconds_ / 2);
  return std::clamp(static_cast<uint32_t>(wanted), kMinRequests, kMaxRequests);
}

double Download::Score(const Source& source) const {
  const double usual = source.seconds_per_piece == 0 ? usual_seconds_ : source.seconds_per_piece;
  return (source.outstanding + 1) * usual;
}

std::vector<Download::Request>::iterator Download::Find(RequestId id) {
  return std::ranges::find(requests_, id, &Request::id);
}

void Download::AddPresent(PieceIndex piece, SteadyTime now) {
  picker_.SetPresent(piece);
  if (requests_.empty()) return;
  CancelRequests(piece, /*origin_too=*/true);
  while (complete() && !requests_.empty()) CancelAllOf(requests_.front().source);
  AskAll(now);
}

std::optional<SourceId> Download::AddPeer(std::chrono::nanoseconds round_trip, SteadyTime) {
  for (uint32_t number = 1; number < kMaxSources; ++number) {
    if (sources_[number].added) continue;
    sources_[number] = {};
    sources_[number].added = true;
    sources_[number].round_trip = round_trip;
    picker_.AddSource(SourceId{number});
    return SourceId{number};
  }
  return std::nullopt;
}

void Download::RemovePeer(SourceId peer, SteadyTime now) {
  if (peer == kOriginSource || !At(peer).added) return;
  CancelAllOf(peer);
  picker_.RemoveSource(peer);
  At(peer) = {};
  AskAll(now);
}

void Download::PeerHas(SourceId peer, const std::vector<PieceIndex>& pieces, SteadyTime now) {
  if (peer == kOriginSource || !At(peer).added) return;
  for (const PieceIndex piece : pieces) picker_.SourceHas(peer, piece);
  while (picker_.Offers(peer) && peer_requests_ < Budget() && Usable(At(peer), now) &&
         At(peer).outstanding < Depth(At(peer)) && AskPeer(peer, now)) {
  }
}

void Download::PeersHaveNot(PieceIndex piece, SteadyTime now) {
  for (uint32_t number = 1; number < kMaxSources; ++number) {
    if (sources_[number].added) picker_.SourceLost(SourceId{number}, piece);
  }
  CancelRequests(piece, /*origin_too=*/false);
  AskAll(now);
}

void Download::SetTracker(bool reachable, SteadyTime now) {
  tracker_ = reachable;
  AskAll(now);
}

void Download::GrantLease(PieceRun run, SteadyTime now) {
  alone_ = false;
  for (uint32_t piece = run.begin(); piece < std::min(run.end(), picker_.pieces()); ++piece) {
    picker_.SourceHas(kOriginSource, PieceIndex{piece});
  }
  AskAll(now);
}

void Download::RevokeLease(PieceRun run, SteadyTime now) {
  for (uint32_t piece = run.begin(); piece < std::min(run.end(), picker_.pieces()); ++piece) {
    picker_.SourceLost(kOriginSource, PieceIndex{piece});
  }
  AskAll(now);
}

void Download::SetWindow(PieceRun window, SteadyTime now) {
  picker_.SetWindow(window);
  AskAll(now);
}

void Download::Progress(RequestId id, uint64_t bytes, SteadyTime now) {
  const auto request = Find(id);
  if (request == requests_.end()) return;
  Source& source = At(request->source);
  source.bytes += bytes;
  if (source.bytes < kLeastBytes) return;
  source.bytes = 0;
  source.last_byte = last_progress_ = now;
}

void Download::Answered(RequestId id, std::chrono::nanoseconds took) {
  const auto request = Find(id);
  if (request == requests_.end()) return;
  Source& source = At(request->source);
  source.answers[source.answered++ % kRoundTrips] = took;
}

void Download::Excuse(RequestId id, SteadyTime now) {
  const auto request = Find(id);
  if (request != requests_.end()) At(request->source).last_byte = now;
}

std::vector<Action> Download::Take() { return std::exchange(actions_, {}); }

uint32_t Download::LeasedMissing() const {
  uint32_t count = 0;
  for (uint32_t piece = 0; piece < picker_.pieces(); ++piece) {
    count += picker_.Has(kOriginSource, PieceIndex{piece}) && !picker_.IsPresent(PieceIndex{piece});
  }
  return count;
}

}  // namespace hearth::p2p
