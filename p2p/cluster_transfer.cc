#include "p2p/cluster_transfer.h"

#include <algorithm>
#include <utility>

#include "base/log.h"
#include "base/raw_digest.h"

namespace hearth::p2p {

namespace {

// What is taken for a peer's round trip until its answers were timed, and at least: from the ask to
// the next one a piece goes through four threads of two nodes, and too little of it leaves a fast
// link idle between pieces.
constexpr std::chrono::milliseconds kLeastRoundTrip{8};

Failure FailureOf(const Status& status) {
  switch (status.code()) {
    case StatusCode::kResourceExhausted:
      return Failure::kBusy;
    case StatusCode::kNotFound:
    case StatusCode::kOutOfRange:
      return Failure::kNotThere;
    case StatusCode::kPermissionDenied:
    case StatusCode::kUnauthenticated:
      return Failure::kRefused;
    default:
      return Failure::kUnavailable;
  }
}

}  // namespace

ClusterTransfer::ClusterTransfer(Options options)
    : options_(std::move(options)),
      piece_bytes_(PieceSizeFor(options_.blob->size_bytes())),
      pieces_(PieceCount(options_.blob->size_bytes(), piece_bytes_)),
      core_({.size_bytes = options_.blob->size_bytes(),
             .piece_size_bytes = piece_bytes_,
             .seed = options_.seed},
            options_.cluster.options().clock.SteadyNow()),
      sums_(options_.leavings ? options_.leavings->sums_->ForNextTry()
                              : Attestations(pieces_, Attestations::Belief::kFirstWord)),
      checked_(pieces_),
      last_hope_(options_.cluster.options().clock.SteadyNow()) {
  if (!options_.leavings) return;
  options_.leavings->taken_ = true;
  MutexLock lock(mutex_);
  attesters_ = options_.leavings->attesters_;
  attester_names_ = options_.leavings->attester_names_;
}

uint64_t ClusterTransfer::SizeOf(PieceIndex piece) const {
  return std::min(piece_bytes_, size_bytes() - Begin(piece));
}

v1::JoinBlob ClusterTransfer::JoinMessage() const {
  v1::JoinBlob join;
  join.set_blob(ToRaw(digest()));
  join.set_size_bytes(size_bytes());
  MutexLock lock(mutex_);
  PieceBitmap present(pieces_), kept(pieces_);
  for (uint32_t piece = 0; piece < pieces_; ++piece) {
    const PieceIndex index{piece};
    if (core_.picker().IsPresent(index)) present.Set(index);
    if (core_.picker().IsKept(index)) kept.Set(index);
  }
  if (present.Count() > 0) join.set_present(present.Encode());
  if (kept.Count() > 0) join.set_kept(kept.Encode());
  join.set_origin_accepts(!options_.origins.empty() && !refused_);
  return join;
}

uint32_t ClusterTransfer::Holders(PieceIndex piece) const {
  MutexLock lock(mutex_);
  return static_cast<uint32_t>(piece) < pieces_ ? core_.picker().Holders(piece) : 0;
}

Status ClusterTransfer::Run(std::stop_token stop, bool& final_error) {
  Prepare();
  options_.cluster.Enter(shared_from_this());
  const bool small = pieces_ <= 1 && !options_.leavings;
  Status status = small ? RunSmall(stop) : RunSwarm(stop);
  Drain();
  status = RejectDoubted(std::move(status));
  const bool wrong = status.code() == StatusCode::kDataLoss &&
                     options_.blob->state() == store::Blob::State::kFailed;
  if (wrong) {
    v1::FromNode message;
    message.mutable_mismatch()->set_blob(ToRaw(digest()));
    options_.cluster.TellTracker(message);
    KeepLeavings();
  } else if (status.ok()) {
    BlameLiars();
  }
  options_.cluster.Leave(*this, status.ok() ? Cluster::Left::kComplete
                                : wrong     ? Cluster::Left::kWrongDigest
                                            : Cluster::Left::kUnfinished);
  MutexLock lock(mutex_);
  final_error = !store_error_.ok();
  return final_error ? store_error_ : status;
}

// What the blob has from an earlier life is told to neighbours once somebody says what it hashes
// to, or its digest was right: nobody remembers who said so before.
void ClusterTransfer::Prepare() {
  const bool tracker = options_.cluster.has_tracker();
  {
    MutexLock lock(mutex_);
    for (uint32_t piece = 0; piece < pieces_; ++piece) {
      const PieceIndex index{piece};
      if (options_.blob->Available(Begin(index)) >= SizeOf(index)) core_.AddKept(index);
      const bool settled = sums_.settled(index) != Attestations::Settled::kNo;
      if (options_.trust == Trust::kSettled && settled) restorable_.push_back(index);
    }
    tracker_ = tracker;
    core_.SetTracker(tracker, Now());
  }
  // Ahead of Enter(), so that the tracker leases none of these to this node again.
  RestorePieces();
  const bool alone = options_.trust == Trust::kOrigin || (options_.leavings && pieces_ <= 1);
  if (!alone) return;
  MutexLock lock(mutex_);
  core_.GrantLease({PieceIndex{0}, pieces_}, Now());
}

Status ClusterTransfer::RunSwarm(std::stop_token stop) {
  const std::stop_callback wake(stop, [this] {
    MutexLock lock(mutex_);
    changed_.NotifyAll();
  });
  while (true) {
    const std::vector<Action> actions = NextActions(stop);
    TellMissing(actions);
    for (const Action& action : actions) {
      if (action.kind == Action::Kind::kGiveUp) {
        MutexLock lock(mutex_);
        return last_error_.ok() ? Unavailable("no node and no registry brought a piece of blob " +
                                              digest().ToString() + " for " +
                                              std::to_string(Download::kGiveUpAfter.count()) + " s")
                                : last_error_;
      }
      Do(action);
    }
    MutexLock lock(mutex_);
    if (stop.stop_requested()) return Cancelled("the transfer of blob " + digest().ToString());
    if (!store_error_.ok()) return store_error_;
    if (doubted_) return DataLoss("a piece of blob " + digest().ToString() + " is false");
    if (core_.complete()) break;
    if (IsHopeless(Now())) return last_error_;
  }
  return options_.blob->WaitComplete(stop);
}

void ClusterTransfer::FollowReaders() {
  PieceRun window;
  if (const auto wanted = options_.blob->WantedOffset()) {
    const auto first = static_cast<uint32_t>(*wanted / piece_bytes_);
    const auto count = static_cast<uint32_t>(kWindowBytes / piece_bytes_);
    window = {PieceIndex{first}, std::min(std::max(count, 1u), pieces_ - first)};
  }
  MutexLock lock(mutex_);
  if (window == window_) return;
  window_ = window;
  core_.SetWindow(window, Now());
}

std::vector<Action> ClusterTransfer::NextActions(std::stop_token stop) {
  FollowReaders();
  options_.cluster.Redial(digest());
  MutexLock lock(mutex_);
  if (!woken_ && !stop.stop_requested() && store_error_.ok()) {
    changed_.WaitUntil(mutex_, core_.NextTick());
  }
  woken_ = false;
  if (Now() >= core_.NextTick()) {
    KeepAlive(Now());
    core_.Tick(Now());
  }
  return core_.Take();
}

// The registry's client ends what stalls by itself, and what waits here for memory or the limiter
// is no peer's fault: neither is for the Download to snub.
void ClusterTransfer::KeepAlive(SteadyTime now) {
  for (const auto& [id, request] : requests_) {
    if (!request.peer || request.peer->waits_here()) core_.Excuse(id, now);
  }
}

// The origin said no for good, and nobody else has what is missing.
bool ClusterTransfer::IsHopeless(SteadyTime now) {
  bool hope = !refused_ || core_.requests() > 0;
  for (uint32_t piece = 0; piece < pieces_ && !hope; ++piece) {
    const PieceIndex index{piece};
    hope = !core_.picker().IsPresent(index) && core_.picker().Holders(index) > 0;
  }
  if (hope) last_hope_ = now;
  return now - last_hope_ >= kHopeless;
}

void ClusterTransfer::Do(const Action& action) {
  switch (action.kind) {
    case Action::Kind::kRequest:
      return action.source == kOriginSource ? AskOrigin(action) : AskPeer(action);
    case Action::Kind::kCancel: {
      Request request;
      {
        MutexLock lock(mutex_);
        const auto found = requests_.find(action.request);
        if (found == requests_.end()) return;
        request = found->second;
        if (request.origin) held_.erase(action.request);
        requests_.erase(found);
      }
      if (request.peer) request.peer->Cancel();
      if (request.origin) request.origin->request_stop();
      return;
    }
    case Action::Kind::kAnnounce: {
      if (action.source == kOriginSource) return;  // told once it is hashed
      std::optional<Digest> sum;
      {
        MutexLock lock(mutex_);
        if (!doubted_) sum = sums_.Expected(action.run.first);
      }
      if (sum) options_.cluster.Announce(digest(), {action.run.first, *sum});
      return;
    }
    case Action::Kind::kBlame:
      return Blame(action);
    case Action::Kind::kMissing:
    case Action::Kind::kComplete:
    case Action::Kind::kGiveUp:
      return;
  }
}

void ClusterTransfer::Blame(const Action& action) {
  v1::FromNode message;
  std::string node;
  std::string name;
  {
    MutexLock lock(mutex_);
    const auto found = by_source_.find(action.source);
    if (found == by_source_.end()) return;
    node = found->second;
    name = peers_[node].address.name;
  }
  LOG_WARNING("a node sent a wrong piece and is not asked again for this blob",
              {{"node", node},
               {"name", name},
               {"digest", digest().ToString()},
               {"piece", action.run.begin()}});
  message.mutable_blame()->set_blob(ToRaw(digest()));
  message.mutable_blame()->set_node_id(node);
  message.mutable_blame()->set_piece(action.run.begin());
  message.mutable_blame()->set_kind(v1::Blame::SERVED_WRONG);
  options_.cluster.TellTracker(message);
}

void ClusterTransfer::TellMissing(const std::vector<Action>& actions) {
  v1::FromNode message;
  for (const Action& action : actions) {
    if (action.kind != Action::Kind::kMissing) continue;
    message.mutable_missing()->set_blob(ToRaw(digest()));
    v1::Run& run = *message.mutable_missing()->add_runs();
    run.set_first(action.run.begin());
    run.set_count(action.run.count);
  }
  if (message.has_missing()) options_.cluster.TellTracker(message);
}

// --- peers ---

void ClusterTransfer::AskPeer(const Action& action) {
  PieceAsk ask;
  const RequestId id = action.request;
  const PieceIndex piece = action.run.first;
  {
    MutexLock lock(mutex_);
    const auto found = by_source_.find(action.source);
    if (found == by_source_.end()) return core_.Failed(id, Failure::kUnavailable, Now());
    ask.peer = peers_[found->second].address;
    requests_[id] = {};
    ++under_way_;
  }
  ask.blob = digest();
  ask.offset_bytes = Begin(piece);
  ask.size_bytes = SizeOf(piece);
  ask.progress = [this, self = shared_from_this(), id](uint64_t bytes) {
    MutexLock lock(mutex_);
    core_.Progress(id, bytes, Now());
  };
  ask.answered = [this, self = shared_from_this(), id](std::chrono::nanoseconds took) {
    MutexLock lock(mutex_);
    core_.Answered(id, took);
  };
  auto request = options_.cluster.options().peers.Fetch(
      std::move(ask), [this, self = shared_from_this(), id, piece](auto bytes) {
        Status status = bytes.status();
        if (status.ok()) {
          status = options_.cluster.options().cpu.Submit(
              [self, id, piece, got = *std::move(bytes)] { self->Check(id, piece, got); });
          if (status.ok()) return;
        }
        {
          MutexLock lock(mutex_);
          if (requests_.erase(id) > 0 && status.code() != StatusCode::kResourceExhausted) {
            LOG_DEBUG("peer failed", {{"error", status}});
          }
          core_.Failed(id, FailureOf(status), Now());
        }
        EndOne();
      });
  MutexLock lock(mutex_);
  const auto found = requests_.find(id);
  if (found != requests_.end()) found->second.peer = std::move(request);
}

void ClusterTransfer::Check(RequestId id, PieceIndex piece,
                            std::shared_ptr<PeerClient::Bytes> bytes) {
  const Digest sum = Digest::Of(bytes->data);
  bool right = false;
  {
    MutexLock lock(mutex_);
    right = sums_.Expected(piece) == sum && !core_.picker().IsPresent(piece);
    if (core_.picker().IsPresent(piece)) {  // somebody was faster
      requests_.erase(id);
      core_.Failed(id, Failure::kBusy, Now());
    }
  }
  Status written;
  if (right) written = options_.blob->Write(Begin(piece), bytes->data);
  if (right) Credit({ByteOrigin::kPeer, bytes->from, bytes->data.size()});
  bytes = nullptr;
  {
    MutexLock lock(mutex_);
    requests_.erase(id);
    if (written.ok()) {
      core_.PieceArrived(id, piece, right, Now());
      if (right) checked_.Set(piece);
      // Settled otherwise while it was written.
      if (right && sums_.Expected(piece) != sum) doubted_ = piece;
    } else {
      store_error_ = written;
    }
  }
  EndOne();
}

void ClusterTransfer::EndOne() {
  MutexLock lock(mutex_);
  --under_way_;
  woken_ = true;
  changed_.NotifyAll();
}

// Nothing of this transfer touches the blob afterwards.
void ClusterTransfer::Drain() {
  std::map<RequestId, Request> requests;
  {
    MutexLock lock(mutex_);
    draining_ = true;
    requests.swap(requests_);
  }
  for (auto& [id, request] : requests) {
    if (request.peer) request.peer->Cancel();
    if (request.origin) request.origin->request_stop();
  }
  MutexLock lock(mutex_);
  while (under_way_ > 0) changed_.Wait(mutex_);
}

// --- what tracker and neighbours say ---

void ClusterTransfer::OnTracker(bool up) {
  MutexLock lock(mutex_);
  tracker_ = up;
  core_.SetTracker(up, Now());
  woken_ = true;
  changed_.NotifyAll();
}

void ClusterTransfer::OnLease(PieceRun run, bool granted) {
  MutexLock lock(mutex_);
  granted ? core_.GrantLease(run, Now()) : core_.RevokeLease(run, Now());
  woken_ = true;
  changed_.NotifyAll();
}

void ClusterTransfer::OnNeighbours(const std::vector<PeerAddress>& peers, bool located) {
  if (!located) return;
  MutexLock lock(mutex_);
  located_ = peers;
  changed_.NotifyAll();
}

void ClusterTransfer::OnHave(const PeerAddress& peer, const std::vector<PieceSum>& pieces) {
  if (options_.trust == Trust::kOrigin) return;
  MutexLock lock(mutex_);
  auto known = peers_.find(peer.id);
  if (known == peers_.end()) {
    const auto source = core_.AddPeer(kLeastRoundTrip, Now());
    if (!source) return;
    known = peers_.emplace(peer.id, Peer{peer, *source}).first;
    by_source_[*source] = peer.id;
  }
  std::vector<PieceIndex> to_ask;
  for (const PieceSum& piece : pieces) {
    if (sums_.Promise(known->second.source, piece)) to_ask.push_back(piece.piece);
  }
  core_.PeerHas(known->second.source, to_ask, Now());
  woken_ = true;
  changed_.NotifyAll();
}

AttesterId ClusterTransfer::AttesterOf(const std::string& node_id) {
  const AttesterId next{static_cast<uint32_t>(attester_names_.size())};
  const auto [found, added] = attesters_.emplace(node_id, next);
  if (added) attester_names_.push_back(node_id);
  return found->second;
}

void ClusterTransfer::OnSums(const std::string& attester, const std::vector<PieceSum>& sums) {
  MutexLock lock(mutex_);
  const AttesterId id = AttesterOf(attester);
  for (const PieceSum& sum : sums) {
    const auto added = sums_.Add(id, sum);
    if (added == Attestations::Added::kConflict) {
      LOG_WARNING("nodes disagree about a piece", {{"digest", digest().ToString()},
                                                   {"piece", static_cast<uint32_t>(sum.piece)},
                                                   {"node", attester}});
    }
    for (const SourceId source : sums_.Promisers(sum.piece)) {
      core_.PeerHas(source, {sum.piece}, Now());
    }
    if (added == Attestations::Added::kNew && IsKept(sum.piece)) restorable_.push_back(sum.piece);
  }
  Restore();
  woken_ = true;
  changed_.NotifyAll();
}

bool ClusterTransfer::IsKept(PieceIndex piece) const {
  return static_cast<uint32_t>(piece) < pieces_ && core_.picker().IsKept(piece);
}

void ClusterTransfer::OnNeighbourGone(const std::string& node_id) {
  MutexLock lock(mutex_);
  const auto peer = peers_.find(node_id);
  if (peer == peers_.end()) return;
  core_.RemovePeer(peer->second.source, Now());
  sums_.RemoveSource(peer->second.source);
  by_source_.erase(peer->second.source);
  peers_.erase(peer);
  woken_ = true;
  changed_.NotifyAll();
}

void ClusterTransfer::OnBan(const std::string& node_id) { OnNeighbourGone(node_id); }

}  // namespace hearth::p2p
