#include "p2p/cluster.h"

#include <algorithm>
#include <utility>

#include "base/log.h"
#include "base/raw_digest.h"
#include "p2p/cluster_transfer.h"

namespace hearth::p2p {

namespace {

// A blob of one piece has no swarm: who has it is enough.
v1::FromNode Wanted(const ClusterTransfer& transfer) {
  v1::FromNode message;
  if (transfer.pieces() <= 1) {
    message.mutable_locate()->set_blob(ToRaw(transfer.digest()));
  } else {
    *message.mutable_join() = transfer.JoinMessage();
  }
  return message;
}

}  // namespace

struct Cluster::Gate {
  explicit Gate(Cluster* behind) : cluster(behind) {}
  Mutex mutex;
  Cluster* cluster GUARDED_BY(mutex);
};

Cluster::Cluster(Options options)
    : options_(std::move(options)), gate_(std::make_shared<Gate>(this)) {}

Cluster::~Cluster() {
  {
    MutexLock lock(gate_->mutex);
    gate_->cluster = nullptr;
  }
  MutexLock lock(mutex_);
  while (tasks_ > 0) changed_.Wait(mutex_);
}

void Cluster::Connect(TrackerLink* tracker, NeighbourDialer* dialer) {
  MutexLock lock(mutex_);
  tracker_ = tracker;
  dialer_ = dialer;
}

bool Cluster::has_tracker() const {
  MutexLock lock(mutex_);
  return tracker_ != nullptr && tracker_->connected();
}

bool Cluster::MayAsk(const std::string& node_id) const {
  MutexLock lock(mutex_);
  const auto shut_out = shut_out_.find(node_id);
  return !banned_.contains(node_id) &&
         (shut_out == shut_out_.end() || options_.clock.SteadyNow() >= shut_out->second);
}

size_t Cluster::neighbours() const {
  MutexLock lock(mutex_);
  return neighbours_.size();
}

uint32_t Cluster::Holders(const Digest& blob, PieceIndex piece) const {
  if (const auto transfer = TransferOf(blob)) return transfer->Holders(piece);
  MutexLock lock(mutex_);
  const auto found = shares_.find(blob);
  if (found == shares_.end()) return 0;
  return static_cast<uint32_t>(
      std::ranges::count_if(found->second.listeners, [piece](const auto& listener) {
        const PieceBitmap& has = listener.second.has;
        return static_cast<uint32_t>(piece) < has.size() && has.Has(piece);
      }));
}

std::shared_ptr<ClusterTransfer> Cluster::TransferOf(const Digest& blob) const {
  MutexLock lock(mutex_);
  const auto share = shares_.find(blob);
  return share == shares_.end() ? nullptr : share->second.transfer.lock();
}

std::vector<std::shared_ptr<ClusterTransfer>> Cluster::Transfers() const {
  std::vector<std::shared_ptr<ClusterTransfer>> transfers;
  MutexLock lock(mutex_);
  for (const auto& [blob, share] : shares_) {
    if (auto transfer = share.transfer.lock()) transfers.push_back(std::move(transfer));
  }
  return transfers;
}

// --- transfers ---

Cluster::Share* Cluster::FindShare(const Digest& blob) {
  const auto found = shares_.find(blob);
  if (found == shares_.end()) return nullptr;
  found->second.last_used = options_.clock.SteadyNow();
  return &found->second;
}

Cluster::Share& Cluster::MakeShare(const Digest& blob, uint64_t size_bytes) {
  if (Share* known = FindShare(blob)) return *known;
  if (shares_.size() >= kMaxShares) {
    auto oldest = shares_.end();
    for (auto it = shares_.begin(); it != shares_.end(); ++it) {
      if (!it->second.transfer.expired() || it->second.hashing) continue;
      if (oldest == shares_.end() || it->second.last_used < oldest->second.last_used) oldest = it;
    }
    if (oldest != shares_.end()) {
      for (auto& [id, neighbour] : neighbours_) neighbour.told.erase(oldest->first);
      shares_.erase(oldest);
    }
  }
  Share& share = shares_[blob];
  share.blob = blob;
  share.size_bytes = size_bytes;
  share.promised.resize(PieceCount(size_bytes, PieceSizeFor(size_bytes)));
  share.attested.resize(share.promised.size());
  share.last_used = options_.clock.SteadyNow();
  return share;
}

void Cluster::SayGoodbye(const Digest& blob, bool to_all) {
  v1::NeighbourMessage goodbye;
  goodbye.mutable_goodbye()->set_blob(ToRaw(blob));
  for (auto& [id, neighbour] : neighbours_) {
    if (neighbour.told.erase(blob) > 0 || to_all) neighbour.link->Send(goodbye);
  }
}

void Cluster::Enter(const std::shared_ptr<ClusterTransfer>& transfer) {
  const v1::FromNode message = Wanted(*transfer);
  MutexLock lock(mutex_);
  // Complete here once and since removed: what was said and heard of it then holds no more. Where
  // it was so long ago that the share has made room for others, anybody may have been told.
  const Share* const known = FindShare(transfer->digest());
  if (known == nullptr || known->seeded) {
    if (transfer->pieces() > 1) SayGoodbye(transfer->digest(), known == nullptr);
    shares_.erase(transfer->digest());
  }
  Share& share = MakeShare(transfer->digest(), transfer->size_bytes());
  share.transfer = transfer;
  if (tracker_ != nullptr && tracker_->connected()) {
    tracker_->Send(message);
    return;
  }
  if (transfer->pieces() <= 1) return;
  // Nobody chooses neighbours: those that there are will do.
  for (auto& [id, neighbour] : neighbours_) TellInterest(neighbour, share);
}

void Cluster::Leave(ClusterTransfer& transfer, Left how) {
  const bool complete = how == Left::kComplete;
  v1::FromNode message;
  MutexLock lock(mutex_);
  wanted_.erase(transfer.digest());
  if (tracker_ != nullptr) {
    if (complete) {
      message.mutable_inventory()->set_added(ToRaw(transfer.digest()));
      tracker_->Send(message);
    }
    // After a wrong digest it enters again; see ClusterTransfer::Leavings.
    if (transfer.pieces() > 1 && how != Left::kWrongDigest) {
      message.mutable_leave()->set_blob(ToRaw(transfer.digest()));
      tracker_->Send(message);
    }
  }
  Share* const share = FindShare(transfer.digest());
  if (share == nullptr) return;
  share->transfer.reset();
  share->seeded = complete;
  if (complete && !share->listeners.empty()) StartSeed(*share);
  if (complete) return;
  SayGoodbye(transfer.digest(), /*to_all=*/false);
  if (how != Left::kWrongDigest) {
    shares_.erase(transfer.digest());
    return;
  }
  share->listeners.clear();
  share->promised.assign(share->promised.size(), std::nullopt);
  share->news.Clear();
}

void Cluster::Forget(const Digest& blob, const std::string& node_id) {
  MutexLock lock(mutex_);
  Share* const share = FindShare(blob);
  if (share == nullptr) return;
  for (auto& attested : share->attested) {
    std::erase_if(attested, [&](const auto& told) { return told->by == node_id; });
  }
}

void Cluster::Attest(const Digest& blob, uint64_t size_bytes, PieceIndex first,
                     const std::vector<Digest>& sums) {
  const auto attestation = options_.attester.Sign(blob, size_bytes, first, sums);
  if (!attestation.ok()) {
    LOG_WARNING("pieces not told to neighbours", {{"error", attestation.status()}});
    return;
  }
  MutexLock lock(mutex_);
  if (Share* const share = FindShare(blob)) Tell(*share, *attestation, first, sums);
}

void Cluster::Tell(Share& share, const v1::Attestation& attestation, PieceIndex first,
                   const std::vector<Digest>& sums) {
  AddAttestation(share, attestation, options_.node_id, {first, static_cast<uint32_t>(sums.size())});
  if (tracker_ != nullptr && !share.transfer.expired()) {
    v1::FromNode message;
    *message.mutable_attestation() = attestation;
    tracker_->Send(message);
  }
  AddNews(share, first, sums);
}

void Cluster::Announce(const Digest& blob, const PieceSum& piece) {
  MutexLock lock(mutex_);
  if (Share* const share = FindShare(blob)) AddNews(*share, piece.piece, {piece.sum});
}

void Cluster::PlanNews(Share& share) {
  if (!share.news.Plan()) return;
  options_.timers.At(std::chrono::steady_clock::now() + share.news.Gather(),
                     [gate = gate_, blob = share.blob] {
                       MutexLock lock(gate->mutex);
                       if (gate->cluster != nullptr) gate->cluster->TellNews(blob);
                     });
}

void Cluster::TellTracker(const v1::FromNode& message) {
  MutexLock lock(mutex_);
  if (tracker_ != nullptr) tracker_->Send(message);
}

std::shared_ptr<const v1::Attestation> Cluster::Proof(const Digest& blob,
                                                      const std::string& node_id,
                                                      const PieceSum& piece) const {
  MutexLock lock(mutex_);
  const auto found = shares_.find(blob);
  if (found == shares_.end()) return nullptr;
  const Share& share = found->second;
  if (static_cast<uint32_t>(piece.piece) >= share.attested.size()) return nullptr;
  for (const auto& attested : share.attested[static_cast<uint32_t>(piece.piece)]) {
    if (attested->by != node_id) continue;
    const auto told = ParsePieceSums(attested->attestation->payload());
    const auto differs = [&](const PieceSum& sum) {
      return sum.piece == piece.piece && sum.sum != piece.sum;
    };
    if (told.ok() && std::ranges::any_of(told->sums, differs)) return attested->attestation;
  }
  return nullptr;
}

// --- the tracker's stream ---

void Cluster::OnTrackerUp() {
  for (const auto& transfer : Transfers()) {
    TellTracker(Wanted(*transfer));
    transfer->OnTracker(true);
  }
}

void Cluster::OnTrackerDown() {
  for (const auto& transfer : Transfers()) transfer->OnTracker(false);
}

void Cluster::OnTracker(const v1::ToNode& message) {
  const auto run = [](const v1::Run& wire) {
    return PieceRun{PieceIndex{wire.first()}, wire.count()};
  };
  if (message.has_neighbours()) {
    OnNeighbours(message.neighbours());
  } else if (message.has_lease()) {
    const auto blob = FromRaw(message.lease().blob());
    const auto transfer = blob ? TransferOf(*blob) : nullptr;
    if (transfer) transfer->OnLease(run(message.lease().run()), true);
  } else if (message.has_revoke()) {
    const auto blob = FromRaw(message.revoke().blob());
    const auto transfer = blob ? TransferOf(*blob) : nullptr;
    if (transfer) transfer->OnLease(run(message.revoke().run()), false);
  } else if (message.has_bans()) {
    OnBans(message.bans());
  } else if (message.has_welcome()) {
    OnBans(message.welcome().bans());
    options_.limiter.SetOriginShare(message.welcome().settings().origin_share_bytes_per_second());
  } else if (message.has_settings()) {
    options_.limiter.SetOriginShare(message.settings().origin_share_bytes_per_second());
  } else if (message.has_settled()) {
    OnSettled(message.settled());
  } else if (message.has_refused()) {
    LOG_WARNING("the tracker refuses", {{"error", message.refused().message()}});
  }
}

void Cluster::OnNeighbours(const v1::Neighbours& neighbours) {
  const auto blob = FromRaw(neighbours.blob());
  if (!blob) return;
  std::vector<PeerAddress> chosen;
  for (const v1::Neighbour& node : neighbours.nodes()) {
    if (node.node_id() == options_.node_id || !MayAsk(node.node_id())) continue;
    chosen.push_back({.id = node.node_id(),
                      .name = node.name(),
                      .data_address = node.data_address(),
                      .control_address = node.control_address()});
  }
  const auto transfer = TransferOf(*blob);
  if (transfer) transfer->OnNeighbours(chosen, neighbours.located());
  if (!transfer || neighbours.located()) return;
  NeighbourDialer* dialer = nullptr;
  {
    MutexLock lock(mutex_);
    Share* const share = FindShare(*blob);
    if (share == nullptr) return;
    dialer = dialer_;
    auto& wanted = wanted_[*blob];
    for (const PeerAddress& peer : chosen) {
      const auto open = neighbours_.find(peer.id);
      if (open != neighbours_.end()) TellInterest(open->second, *share);
      const bool known = std::ranges::find(wanted, peer.id, &PeerAddress::id) != wanted.end();
      if (!known && wanted.size() < kMaxNeighbours) wanted.push_back(peer);
    }
    std::erase_if(chosen, [&](const PeerAddress& peer)
                              NO_THREAD_SAFETY_ANALYSIS { return neighbours_.contains(peer.id); });
  }
  if (dialer == nullptr) return;
  for (const PeerAddress& peer : chosen) dialer->Dial(peer);
}

void Cluster::OnSettled(const v1::SettledSums& settled) {
  const auto blob = FromRaw(settled.blob());
  const auto transfer = blob ? TransferOf(*blob) : nullptr;
  if (!transfer) return;
  std::vector<PieceSum> sums;
  const std::string_view raw = settled.sums();
  for (int i = 0; i < settled.pieces_size(); ++i) {
    const auto sum = FromRaw(raw.substr(std::min(raw.size(), i * Digest::kBytes), Digest::kBytes));
    if (sum) sums.push_back({PieceIndex{settled.pieces(i)}, *sum});
  }
  transfer->OnSettled(sums);
}

void Cluster::OnBans(const v1::Bans& bans) {
  std::vector<std::shared_ptr<NeighbourLink>> cut;
  {
    MutexLock lock(mutex_);
    if (bans.whole()) banned_.clear();
    banned_.insert(bans.banned().begin(), bans.banned().end());
    for (const std::string& node : bans.unbanned()) banned_.erase(node);
    for (const auto& [id, neighbour] : neighbours_) {
      if (banned_.contains(id)) cut.push_back(neighbour.link);
    }
  }
  for (const std::string& node : bans.banned()) {
    for (const auto& transfer : Transfers()) transfer->OnBan(node);
  }
  for (const auto& link : cut) link->Close(PermissionDenied("the node is banned"));
}

}  // namespace hearth::p2p
