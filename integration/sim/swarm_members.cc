// The nodes of a SwarmWorld: their transfers, and what these ask their owner to do.
#include <algorithm>
#include <memory>
#include <utility>

#include "sim/swarm_world.h"

namespace hearth::sim {

namespace {

using std::chrono::milliseconds;
using std::chrono::nanoseconds;

constexpr size_t kMaxStreams = 64;  // to other nodes, as Cluster has

}  // namespace

void SwarmWorld::Start(uint32_t number) {
  nodes_[number].up = true;
  for (uint32_t blob = 0; blob < options_.blobs; ++blob) StartTransfer(number, blob);
}

// What the store has of an earlier life is used, but told only once somebody says what it hashes
// to. Where it is everything, its digest has judged it.
void SwarmWorld::StartTransfer(uint32_t number, uint32_t blob) {
  Transfer& transfer = At(number, blob);
  const auto former = std::move(transfer.download);
  transfer.download = std::make_unique<p2p::Download>(
      p2p::Download::Options{options_.size_bytes, piece_size_bytes_, Random()}, timeline_.now());
  if (Trusting()) {
    transfer.sums = std::make_unique<p2p::Attestations>(
        pieces_, options_.judged ? p2p::Attestations::Belief::kFirstWord
                                 : p2p::Attestations::Belief::kSettled);
    transfer.heard.clear();
    transfer.known.clear();
    transfer.former.clear();
  }
  transfer.told.assign(pieces_, transfer.done);
  transfer.content.resize(pieces_);
  for (uint32_t piece = 0; former && piece < pieces_; ++piece) {
    if (!former->picker().IsPresent(PieceIndex{piece})) continue;
    if (transfer.done) {
      transfer.download->AddPresent(PieceIndex{piece}, timeline_.now());
      Attest(number, blob, PieceIndex{piece});
    } else {
      transfer.download->AddKept(PieceIndex{piece});
    }
  }
  NoteComplete(number, blob);
  transfer.neighbours.assign(p2p::kMaxSources, {});
  transfer.tick = SteadyTime::max();
  if (TrackerAway(timeline_.now())) transfer.download->SetTracker(false, timeline_.now());
  PlanTick(number, blob);
  Enter(number, blob);
}

void SwarmWorld::Restart(uint32_t number) {
  if (nodes_[number].banned || !nodes_[number].up) return;
  Stop(number);
  Tell([this, number] { tracker_.NodeGone(manager::NodeId{number}, timeline_.now()); });
  timeline_.After(options_.away, [this, number] {
    if (!nodes_[number].banned) Start(number);
  });
}

void SwarmWorld::Stop(uint32_t number) {
  Node& node = nodes_[number];
  node.up = false;
  ++node.life;
  node.queue.clear();
  node.uploads = NewQueue();
  node.waiting.clear();
  node.sending.reset();
  for (uint32_t blob = 0; blob < options_.blobs; ++blob) StopTransfer(number, blob);
}

void SwarmWorld::StopTransfer(uint32_t number, uint32_t blob) {
  Transfer& transfer = At(number, blob);
  ++transfer.life;
  transfer.news.Clear();
  for (Neighbour& neighbour : transfer.neighbours) {
    const uint32_t peer = std::exchange(neighbour, {}).node;
    if (peer == kNobody) continue;
    timeline_.After(RoundTrip(number, peer) / 2,
                    [this, peer, number, blob] { DropPeer(peer, number, blob); });
  }
}

void SwarmWorld::PlanTick(uint32_t number, uint32_t blob) {
  Transfer& transfer = At(number, blob);
  const SteadyTime next = transfer.download->NextTick();
  if (next >= transfer.tick || transfer.download->complete()) return;
  if (options_.broken == Options::Broken::kTicks) return;
  transfer.tick = next;
  timeline_.At(next, [this, number, blob, life = transfer.life] {
    Transfer& ticking = At(number, blob);
    if (ticking.life != life || !nodes_[number].up) return;
    if (ticking.tick != timeline_.now()) return;  // an earlier one was planned
    ticking.tick = SteadyTime::max();
    ticking.download->Tick(timeline_.now());
    Act(number, blob);
  });
}

// Carries out what the download asks for, and plans its next tick.
void SwarmWorld::Act(uint32_t number, uint32_t blob) {
  const uint32_t life = At(number, blob).life;
  for (const p2p::Action& action : At(number, blob).download->Take()) {
    switch (action.kind) {
      case p2p::Action::Kind::kRequest:
        Request(number, blob, action);
        break;
      case p2p::Action::Kind::kCancel:
        Cancel(number, blob, action);
        break;
      case p2p::Action::Kind::kAnnounce:
        Announce(number, blob, action);
        break;
      case p2p::Action::Kind::kBlame:
        if (action.source == p2p::kOriginSource) break;
        Blame(number, At(number, blob).neighbours[uint32_t(action.source)].node, blob);
        break;
      case p2p::Action::Kind::kMissing:
        Tell([this, number, blob, run = action.run] {
          tracker_.PiecesMissing(manager::NodeId{number}, blobs_[blob], {&run, 1}, timeline_.now());
        });
        break;
      case p2p::Action::Kind::kComplete:
        Complete(number, blob);
        break;
      case p2p::Action::Kind::kGiveUp:
        ++report_.gave_up;
        break;
    }
    if (At(number, blob).life != life) return;
  }
  PlanTick(number, blob);
}

void SwarmWorld::Request(uint32_t number, uint32_t blob, const p2p::Action& action) {
  ++report_.control_messages;
  const Transfer& transfer = At(number, blob);
  const bool from_origin = action.source == p2p::kOriginSource;
  const uint32_t from = from_origin ? origin_ : transfer.neighbours[uint32_t(action.source)].node;
  const Ask ask{number, transfer.life, blob, action.request, action.run};
  const nanoseconds trip = RoundTrip(number, from);
  report_.most_waiting = std::max(report_.most_waiting, transfer.download->requests());
  if (from_origin && nodes_[number].refused) {
    timeline_.After(trip / 2, [this, from, ask] { Refuse(from, ask, p2p::Failure::kRefused); });
    Tell([this, number, blob] {
      tracker_.OriginRefused(manager::NodeId{number}, blobs_[blob], timeline_.now());
    });
    return;
  }
  if (Chance(options_.loss)) {
    timeline_.After(trip / 2, [this, from, ask] { Refuse(from, ask, p2p::Failure::kUnavailable); });
    return;
  }
  timeline_.After(trip / 2,
                  [this, from, life = nodes_[from].life, ask] { Asked(from, life, ask); });
}

void SwarmWorld::Cancel(uint32_t number, uint32_t blob, const p2p::Action& action) {
  ++report_.control_messages;
  const bool from_origin = action.source == p2p::kOriginSource;
  const uint32_t from =
      from_origin ? origin_ : At(number, blob).neighbours[uint32_t(action.source)].node;
  if (from == kNobody || options_.broken == Options::Broken::kCancels) return;
  const Ask cancelled{number, At(number, blob).life, blob, action.request, {}};
  timeline_.After(RoundTrip(number, from) / 2, [this, from, cancelled] {
    Node& sender = nodes_[from];
    const auto meant = [&](const Ask& ask) {
      return ask.to == cancelled.to && ask.blob == cancelled.blob && ask.life == cancelled.life &&
             ask.request == cancelled.request;
    };
    std::erase_if(sender.queue, meant);
    std::erase_if(sender.waiting, [&](const auto& entry) {
      return meant(entry.second) && sender.uploads.Cancel(entry.first);
    });
    // What is on the link goes out; nothing follows it.
    if (sender.sending && meant(*sender.sending)) sender.sending->run.count = 1;
  });
}

void SwarmWorld::Announce(uint32_t number, uint32_t blob, const p2p::Action& action) {
  const PieceIndex piece = action.run.first;
  const Transfer& transfer = At(number, blob);
  if (action.source == p2p::kOriginSource) {
    Attest(number, blob, piece);
    Tell([this, number, blob, piece, content = transfer.content[uint32_t(piece)]] {
      const PieceSum sum{piece, SumOf(uint32_t(piece), content)};
      const manager::NodeId node{number};
      tracker_.Attested(node, blobs_[blob], {&sum, 1}, timeline_.now());
      tracker_.PieceFetched(node, blobs_[blob], piece, timeline_.now());
    });
  }
  TellNeighbours(number, blob, piece);
}

void SwarmWorld::TellNeighbours(uint32_t number, uint32_t blob, PieceIndex piece) {
  Transfer& transfer = At(number, blob);
  transfer.told[uint32_t(piece)] = true;
  transfer.news.Add(piece, timeline_.now());
  if (!transfer.news.Plan()) return;
  timeline_.After(transfer.news.Gather(), [this, number, blob, life = transfer.life] {
    if (At(number, blob).life == life) SendNews(number, blob);
  });
}

void SwarmWorld::SendNews(uint32_t number, uint32_t blob) {
  Transfer& transfer = At(number, blob);
  if (!transfer.news.Begin()) return;
  const p2p::Picker& picker = transfer.download->picker();
  const p2p::NewsLog::Place end = transfer.news.end();
  p2p::NewsLog::Place first = end;
  to_tell_.clear();
  for (uint32_t source = 0; source < transfer.neighbours.size(); ++source) {
    const Neighbour& neighbour = transfer.neighbours[source];
    if (neighbour.node == kNobody || complete_[size_t{neighbour.node} * options_.blobs + blob])
      continue;
    const bool due = transfer.news.IsDue(
        neighbour.told, [&](PieceIndex piece) { return picker.Has(p2p::SourceId{source}, piece); });
    if (!due) continue;
    first = std::min(first, neighbour.told);
    to_tell_.push_back(source);
  }
  if (to_tell_.empty()) return;
  Mail::News& news = mail_.Write(number, blob);
  for (const PieceIndex piece : transfer.news.Since(first)) {
    news.pieces.emplace_back(piece, transfer.content[uint32_t(piece)]);
  }
  for (const uint32_t source : to_tell_) {
    Neighbour& neighbour = transfer.neighbours[source];
    ++report_.control_messages;
    TellHeard(number, blob, neighbour);
    SteadyTime read;
    const bool alone = mail_.Post({&news, neighbour.node, neighbour.ours, neighbour.told - first},
                                  timeline_.now() + neighbour.away, read);
    if (alone) timeline_.At(read, [this] { ReadMail(); });
    neighbour.told = end;
  }
}

// What the letters ahead are about is fetched meanwhile: it is seldom in a cache.
void SwarmWorld::ReadMail() {
  constexpr size_t kAhead = 8;
  const std::vector<Mail::Letter>& letters = mail_.Deliver(timeline_.now());
  for (size_t i = 0; i < letters.size(); ++i) {
    if (i + 2 * kAhead < letters.size()) __builtin_prefetch(letters[i + 2 * kAhead].news);
    if (i + kAhead < letters.size()) {
      const Mail::Letter& ahead = letters[i + kAhead];
      const Transfer& transfer = At(ahead.to, ahead.news->blob);
      __builtin_prefetch(ahead.news->pieces.data());
      __builtin_prefetch(&transfer.neighbours[uint32_t(ahead.source)]);
      __builtin_prefetch(transfer.download.get());
    }
    const Mail::Letter& letter = letters[i];
    Mail::News& news = *letter.news;
    if (IsNeighbour(letter.to, news.blob, letter.source, news.from)) {
      HearHave(letter.to, news.blob, letter.source, std::span(news.pieces).subspan(letter.first));
    }
    mail_.Read(news);
  }
}

void SwarmWorld::NoteComplete(uint32_t number, uint32_t blob) {
  complete_[size_t{number} * options_.blobs + blob] = At(number, blob).download->complete();
}

void SwarmWorld::Complete(uint32_t number, uint32_t blob) {
  NoteComplete(number, blob);
  Node& node = nodes_[number];
  Transfer& transfer = node.transfers[blob];
  const bool wrong = std::ranges::any_of(
      transfer.content, [](Content content) { return content != Content::kRight; });
  const bool judges =
      options_.judged && !node.lies() && options_.broken != Options::Broken::kChecks;
  if (wrong && judges && !transfer.done) return Mismatch(number, blob);
  const bool again = std::exchange(transfer.done, true);
  if (!again && judges) BlameLiars(number, blob);
  TellRest(number, blob);
  Tell([this, number, blob, life = transfer.life] {
    const manager::NodeId id{number};
    if (nodes_[number].banned || At(number, blob).life != life) return;
    (void)tracker_.Holds(id, nodes_[number].labels, {&blobs_[blob], 1}, timeline_.now());
    tracker_.Leave(id, blobs_[blob], timeline_.now());
  });
  if (again || node.done || !std::ranges::all_of(node.transfers, &Transfer::done)) return;
  node.done = timeline_.seconds();
  if (!node.honest()) return;
  ++report_.complete;
  for (const Transfer& each : node.transfers) {
    report_.wrong += std::ranges::count(each.content, Content::kRight) < pieces_ ? 1 : 0;
  }
}

// What an earlier life left and nobody has vouched for: now the digest has.
void SwarmWorld::TellRest(uint32_t number, uint32_t blob) {
  for (uint32_t piece = 0; piece < pieces_; ++piece) {
    if (At(number, blob).told[piece]) continue;
    if (options_.judged) Attest(number, blob, PieceIndex{piece});
    TellNeighbours(number, blob, PieceIndex{piece});
  }
}

bool SwarmWorld::IsNeighbour(uint32_t node, uint32_t blob, p2p::SourceId source, uint32_t peer) {
  return nodes_[node].up && At(node, blob).neighbours[uint32_t(source)].node == peer;
}

// A node has one stream to another, for all blobs, and not to everybody.
bool SwarmWorld::HasRoom(uint32_t number, uint32_t peer) const {
  if (options_.blobs == 1) return true;
  std::set<uint32_t> nodes;
  for (const Transfer& transfer : nodes_[number].transfers) {
    for (const Neighbour& neighbour : transfer.neighbours) nodes.insert(neighbour.node);
  }
  nodes.erase(kNobody);
  return nodes.contains(peer) || nodes.size() < kMaxStreams;
}

void SwarmWorld::Connect(uint32_t a, uint32_t b, uint32_t blob) {
  report_.control_messages += 2;  // each sends its bitmap
  timeline_.After(RoundTrip(a, b) * 3 / 2, [this, a, b, blob] {
    if (!nodes_[a].up || !nodes_[b].up || Cut(a, b)) return;
    const auto& neighbours = At(a, blob).neighbours;
    if (std::ranges::find(neighbours, b, &Neighbour::node) != neighbours.end()) return;
    if (!HasRoom(a, b) || !HasRoom(b, a)) return;
    const auto of_a = At(a, blob).download->AddPeer(RoundTrip(a, b), timeline_.now());
    if (!of_a) return;
    const auto of_b = At(b, blob).download->AddPeer(RoundTrip(a, b), timeline_.now());
    if (!of_b) return At(a, blob).download->RemovePeer(*of_a, timeline_.now());
    At(a, blob).neighbours[uint32_t(*of_a)] = {b, *of_b, 0, RoundTrip(a, b) / 2, 0};
    At(b, blob).neighbours[uint32_t(*of_b)] = {a, *of_a, 0, RoundTrip(a, b) / 2, 0};
    Meet(a, blob, *of_a);
    Meet(b, blob, *of_b);
  });
}

// The new neighbour tells all that it has.
void SwarmWorld::Meet(uint32_t number, uint32_t blob, p2p::SourceId source) {
  const uint32_t peer = At(number, blob).neighbours[uint32_t(source)].node;
  Transfer& theirs = At(peer, blob);
  std::vector<std::pair<PieceIndex, Content>> has;
  for (uint32_t piece = 0; piece < pieces_; ++piece) {
    const bool present =
        theirs.told[piece] && theirs.download->picker().IsPresent(PieceIndex{piece});
    if (!present && !nodes_[peer].lies_of_pieces) continue;
    has.emplace_back(PieceIndex{piece}, present ? theirs.content[piece] : Content::kRight);
  }
  Neighbour& us = theirs.neighbours[uint32_t(At(number, blob).neighbours[uint32_t(source)].ours)];
  Hear(number, blob, theirs.heard);
  us.heard_told = theirs.heard.size();
  us.told = theirs.news.end();
  HearHave(number, blob, source, has);
  if (nodes_[number].lies()) Slander(number, peer, blob);
}

void SwarmWorld::DropPeer(uint32_t number, uint32_t peer, uint32_t blob) {
  Transfer& transfer = At(number, blob);
  const auto found = std::ranges::find(transfer.neighbours, peer, &Neighbour::node);
  if (found == transfer.neighbours.end()) return;
  const p2p::SourceId source{static_cast<uint32_t>(found - transfer.neighbours.begin())};
  *found = {};
  transfer.download->RemovePeer(source, timeline_.now());
  if (transfer.sums) transfer.sums->RemoveSource(source);
  Act(number, blob);
}

}  // namespace hearth::sim
