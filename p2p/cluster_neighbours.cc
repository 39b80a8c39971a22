// Cluster: what neighbours say, and what they are told.
#include <algorithm>
#include <utility>

#include "base/log.h"
#include "base/raw_digest.h"
#include "p2p/cluster.h"
#include "p2p/cluster_transfer.h"

namespace hearth::p2p {

namespace {

// A neighbour may say this much per second for long, and ten times that in a burst: a HAVE per
// piece of 256 KiB at 10 Gbit/s is 5,000 per second, of all neighbours together.
constexpr double kMessagesPerSecond = 5'000;
constexpr double kMessageBurst = 50'000;
constexpr std::chrono::seconds kShutOut{60};
constexpr size_t kMaxShutOut = 1'024;
constexpr size_t kMaxLost = 1'024;
constexpr uint64_t kSeedStepBytes = 8 << 20;  // hashed before others get the thread

}  // namespace

// --- what they are told; see also cluster_news.cc ---

void Cluster::Seed(const Digest& digest) {
  const auto opened = options_.blobs.Open(digest);
  std::vector<Digest> sums;
  uint32_t first = 0;
  uint64_t size = 0;
  {
    MutexLock lock(mutex_);
    Share* const share = FindShare(digest);
    if (share == nullptr || !share->hashing) return;  // another one took its place
    if (!opened.ok()) {
      share->hashing = false;
      return;
    }
    size = share->size_bytes;
    while (first < share->promised.size() && share->promised[first]) ++first;
    if (first == share->promised.size()) {
      share->hashing = false;
      return;
    }
  }
  const uint64_t piece_size = PieceSizeFor(size);
  std::string bytes;
  for (uint64_t at = first * piece_size, end = std::min(size, at + kSeedStepBytes); at < end;) {
    bytes.resize(std::min(piece_size, size - at));
    const auto got = ReadAt((*opened)->file()->get(), bytes, at);
    if (!got.ok() || *got != bytes.size()) {
      LOG_ERROR("blob not seeded: its file cannot be read", {{"digest", digest.ToString()}});
      MutexLock lock(mutex_);
      if (Share* const share = FindShare(digest)) share->hashing = false;
      return;
    }
    sums.push_back(Digest::Of(bytes));
    at += bytes.size();
  }
  const auto attestation = options_.attester.Sign(digest, size, PieceIndex{first}, sums);
  {
    MutexLock lock(mutex_);
    Share* const share = FindShare(digest);
    // The blob may be gone since, and fetched again: that is not here piece by piece.
    if (share == nullptr || !share->hashing || !share->seeded) return;
    if (!attestation.ok()) {
      LOG_WARNING("pieces not told to neighbours", {{"error", attestation.status()}});
      share->hashing = false;
      return;
    }
    Tell(*share, *attestation, PieceIndex{first}, sums);
    ++tasks_;
  }
  const Status queued = options_.cpu.Submit([this, digest] {
    Seed(digest);
    MutexLock lock(mutex_);
    --tasks_;
    changed_.NotifyAll();
  });
  if (queued.ok()) return;
  MutexLock lock(mutex_);
  --tasks_;
  if (Share* const share = FindShare(digest)) share->hashing = false;
}

// Tells what it has not told yet of a blob that is complete here.
void Cluster::StartSeed(Share& share) {
  const bool all = std::ranges::all_of(share.promised, [](const auto& sum) { return !!sum; });
  if (all || share.hashing) return;
  const Status queued = options_.cpu.Submit([this, digest = share.blob] {
    Seed(digest);
    MutexLock lock(mutex_);
    --tasks_;
    changed_.NotifyAll();
  });
  if (!queued.ok()) return;
  share.hashing = true;
  ++tasks_;
}

// --- what they say ---

Status Cluster::OnLinkUp(const std::shared_ptr<NeighbourLink>& link) {
  const std::string& id = link->peer().id;
  if (!MayAsk(id)) return PermissionDenied("node " + id + " is banned here");
  std::shared_ptr<NeighbourLink> replaced;
  {
    MutexLock lock(mutex_);
    const auto open = neighbours_.find(id);
    if (open != neighbours_.end()) {
      // Both opened one: both keep the one that the smaller id opened, else none might be left.
      const bool keep = link->dialled() == (options_.node_id < id);
      if (!keep || open->second.link->dialled() == link->dialled()) {
        return AlreadyExists("there is a stream to node " + id);
      }
      replaced = open->second.link;
    }
  }
  if (replaced) {
    OnLinkDown(*replaced);
    replaced->Close(AlreadyExists("there is another stream to node " + id));
  }
  MutexLock lock(mutex_);
  if (neighbours_.size() >= kMaxNeighbours) return ResourceExhausted("too many neighbours");
  lost_.erase(id);
  Neighbour& neighbour = neighbours_[id];
  neighbour.link = link;
  neighbour.counted = options_.clock.SteadyNow();
  for (const auto& [blob, peers] : wanted_) {
    const bool chosen = std::ranges::find(peers, id, &PeerAddress::id) != peers.end();
    if (Share* const share = FindShare(blob); share != nullptr && chosen) {
      TellInterest(neighbour, *share);
    }
  }
  // Without a tracker nobody chose: it may have anything that is wanted.
  if (tracker_ != nullptr && tracker_->connected()) return OkStatus();
  for (auto& [blob, share] : shares_) {
    if (!share.transfer.expired()) TellInterest(neighbour, share);
  }
  return OkStatus();
}

void Cluster::OnLinkDown(const NeighbourLink& link) {
  const std::string id = link.peer().id;
  {
    MutexLock lock(mutex_);
    const auto neighbour = neighbours_.find(id);
    const bool open = neighbour != neighbours_.end();
    if (open && neighbour->second.link.get() != &link) return;  // another one took its place
    NoteLost(id);
    if (!open) return;
    neighbours_.erase(neighbour);
    for (auto& [blob, share] : shares_) share.listeners.erase(id);
  }
  for (const auto& transfer : Transfers()) transfer->OnNeighbourGone(id);
}

void Cluster::NoteLost(const std::string& node_id) {
  const bool wanted = std::ranges::any_of(wanted_, [&](const auto& entry) {
    return std::ranges::find(entry.second, node_id, &PeerAddress::id) != entry.second.end();
  });
  if (!wanted) return;
  if (lost_.size() >= kMaxLost) lost_.clear();
  const auto [lost, first] = lost_.try_emplace(node_id);
  if (!first) lost->second.pause = std::min(2 * lost->second.pause, kLastRedial);
  lost->second.next = options_.clock.SteadyNow() + lost->second.pause;
}

void Cluster::Redial(const Digest& blob) {
  std::vector<PeerAddress> due;
  NeighbourDialer* dialer = nullptr;
  {
    MutexLock lock(mutex_);
    if (lost_.empty()) return;  // nearly always
    const auto wanted = wanted_.find(blob);
    if (wanted == wanted_.end() || dialer_ == nullptr) return;
    dialer = dialer_;
    const SteadyTime now = options_.clock.SteadyNow();
    for (const PeerAddress& peer : wanted->second) {
      const auto lost = lost_.find(peer.id);
      if (lost == lost_.end() || now < lost->second.next) continue;
      lost->second.next = now + lost->second.pause;
      due.push_back(peer);
    }
  }
  for (const PeerAddress& peer : due) {
    if (MayAsk(peer.id)) dialer->Dial(peer);
  }
}

Status Cluster::Count(Neighbour& neighbour, int messages) {
  const SteadyTime now = options_.clock.SteadyNow();
  const double seconds = std::chrono::duration<double>(now - neighbour.counted).count();
  neighbour.counted = now;
  neighbour.messages = std::max(0.0, neighbour.messages - seconds * kMessagesPerSecond) + messages;
  return neighbour.messages <= kMessageBurst ? OkStatus()
                                             : ResourceExhausted("a flood of messages");
}

Status Cluster::OnMessage(NeighbourLink& link, const v1::NeighbourMessage& message) {
  const std::string& id = link.peer().id;
  Status status;
  {
    MutexLock lock(mutex_);
    const auto neighbour = neighbours_.find(id);
    if (neighbour == neighbours_.end() || neighbour->second.link.get() != &link) return OkStatus();
    status = Count(neighbour->second, 1 + message.news().attestations_size());
  }
  if (status.ok() && message.has_interest()) status = OnInterest(link, message.interest());
  if (status.ok() && message.has_have()) status = OnHave(link, message.have());
  if (status.ok() && message.has_attestation()) status = OnAttestation(id, message.attestation());
  if (status.ok() && message.has_news()) status = OnNews(link, message.news());
  if (status.ok() && message.has_goodbye()) {
    const auto blob = FromRaw(message.goodbye().blob());
    if (const auto transfer = blob ? TransferOf(*blob) : nullptr) transfer->OnNeighbourGone(id);
    MutexLock lock(mutex_);
    if (Share* const share = blob ? FindShare(*blob) : nullptr) share->listeners.erase(id);
    // It forgot what it was told: the next Interest is for both to say.
    const auto neighbour = neighbours_.find(id);
    if (blob && neighbour != neighbours_.end()) neighbour->second.told.erase(*blob);
  }
  if (status.ok()) return status;
  LOG_WARNING("neighbour cut off", {{"node", id}, {"name", link.peer().name}, {"error", status}});
  MutexLock lock(mutex_);
  if (shut_out_.size() >= kMaxShutOut) shut_out_.clear();
  shut_out_[id] = options_.clock.SteadyNow() + kShutOut;
  return status;
}

Status Cluster::OnInterest(NeighbourLink& link, const v1::Interest& interest) {
  const auto blob = FromRaw(interest.blob());
  if (!blob) return InvalidArgument("an Interest without a digest");
  const bool may_share = !options_.may_share || options_.may_share(*blob);
  const auto complete = may_share ? options_.blobs.Info(*blob) : NotFound("not shared");
  MutexLock lock(mutex_);
  const auto neighbour = neighbours_.find(link.peer().id);
  if (neighbour == neighbours_.end()) return OkStatus();
  Share* share = FindShare(*blob);
  const bool wanted = share != nullptr && !share->transfer.expired();
  const bool seeded =
      complete.ok() && complete->size_bytes == interest.size_bytes() && interest.size_bytes() > 0;
  if (!wanted && !seeded) {
    v1::NeighbourMessage message;
    message.mutable_goodbye()->set_blob(interest.blob());
    link.Send(message);
    return OkStatus();
  }
  if (share == nullptr) share = &MakeShare(*blob, interest.size_bytes());
  share->seeded = share->seeded || !wanted;
  if (share->size_bytes != interest.size_bytes()) return OkStatus();  // one manifest is wrong
  if (share->listeners.contains(link.peer().id)) return OkStatus();
  TellInterest(neighbour->second, *share);
  Listener& listener = share->listeners[link.peer().id];
  TellAll(link, *share, listener);
  if (!wanted) StartSeed(*share);
  return OkStatus();
}

}  // namespace hearth::p2p
