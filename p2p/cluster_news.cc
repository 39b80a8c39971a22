// Cluster: the pieces and attestations that neighbours tell each other.
//
// What this node learns within a short time goes out in one message, to whom it is of use
// (NewsLog). An attestation goes along with the first piece that needs it, to whoever has not said
// by then that it has it: where all are neighbours of its author, nobody gets it twice.
#include <algorithm>
#include <cstring>
#include <utility>

#include "base/raw_digest.h"
#include "p2p/cluster.h"
#include "p2p/cluster_transfer.h"

namespace hearth::p2p {

namespace {

constexpr size_t kMaxPiecesPerNews = 4'096;
constexpr size_t kPiecesPerNews = 1'024;               // of what is told here
constexpr size_t kAttestationBytesPerNews = 64 << 10;  // or one attestation
constexpr size_t kMostHeardHeld = 8;  // ids of attestations that wait for news of a piece
constexpr size_t kMaxKnownOfListener = 16'384;
constexpr size_t kIdBytes = sizeof(uint64_t);

Digest HashOf(const v1::Attestation& attestation) {
  return Digest::Of(attestation.signature() + attestation.payload());
}

uint64_t IdOf(std::string_view bytes) {
  uint64_t id = 0;
  std::memcpy(&id, bytes.data(), kIdBytes);
  return id;
}

uint64_t IdOf(const Digest& hash) { return IdOf(ToRaw(hash)); }

Digest SumAt(std::string_view sums, size_t number) {
  return *FromRaw(sums.substr(number * Digest::kBytes, Digest::kBytes));
}

// For a neighbour that does not know News.
void TellOneByOne(NeighbourLink& link, const v1::News& news) {
  v1::NeighbourMessage message;
  for (const v1::Attestation& attestation : news.attestations()) {
    *message.mutable_attestation() = attestation;
    link.Send(message);
  }
  const std::string_view sums = news.sums();
  for (int i = 0; i < news.pieces_size();) {
    v1::Have& have = *message.mutable_have();
    have.Clear();
    have.set_blob(news.blob());
    have.set_first(news.pieces(i));
    uint32_t count = 0;
    for (; i < news.pieces_size() && news.pieces(i) == have.first() + count; ++i, ++count) {
      have.mutable_sums()->append(sums.substr(i * Digest::kBytes, Digest::kBytes));
    }
    link.Send(message);
  }
}

void Send(NeighbourLink& link, const v1::NeighbourMessage& message) {
  link.protocol() >= 2 ? link.Send(message) : TellOneByOne(link, message.news());
}

}  // namespace

// --- what they are told ---

bool Cluster::HasRoom(const Share& share, const v1::Attestation& attestation) {
  return share.attestation_bytes + attestation.ByteSizeLong() <=
         kMinAttestationBytes + share.promised.size() * kAttestationBytesPerPiece;
}

bool Cluster::AddAttestation(Share& share, const v1::Attestation& attestation,
                             const std::string& by, PieceRun pieces) {
  if (!HasRoom(share, attestation)) return false;
  const Digest hash = HashOf(attestation);
  if (!share.known.insert(hash).second) return false;
  const auto attested = std::make_shared<const Attested>(
      Attested{std::make_shared<const v1::Attestation>(attestation), by, IdOf(hash)});
  for (uint64_t piece = pieces.begin();
       piece < std::min<uint64_t>(pieces.end(), share.attested.size()); ++piece) {
    share.attested[piece].push_back(attested);
  }
  share.attestation_bytes += attestation.ByteSizeLong();
  return true;
}

void Cluster::TellInterest(Neighbour& neighbour, const Share& share) {
  if (neighbour.told.size() >= kMaxSharesPerNeighbour) return;
  if (!neighbour.told.insert(share.blob).second) return;
  v1::NeighbourMessage message;
  message.mutable_interest()->set_blob(ToRaw(share.blob));
  message.mutable_interest()->set_size_bytes(share.size_bytes);
  neighbour.link->Send(message);
}

void Cluster::AddNews(Share& share, PieceIndex first, const std::vector<Digest>& sums) {
  for (size_t i = 0; i < sums.size(); ++i) {
    const size_t piece = static_cast<uint32_t>(first) + i;
    if (piece >= share.promised.size()) break;
    share.promised[piece] = sums[i];
    share.news.Add(PieceIndex{static_cast<uint32_t>(piece)}, std::chrono::steady_clock::now());
  }
  PlanNews(share);
}

void Cluster::TellNews(const Digest& blob) {
  MutexLock lock(mutex_);
  const auto found = shares_.find(blob);
  if (found == shares_.end() || !found->second.news.Begin()) return;
  Share& share = found->second;
  for (auto& [id, listener] : share.listeners) {
    const auto neighbour = neighbours_.find(id);
    if (neighbour == neighbours_.end() || !IsDue(share, listener)) continue;
    TellNewsTo(*neighbour->second.link, share, listener);
  }
}

bool Cluster::IsDue(const Share& share, const Listener& listener) {
  if (share.heard.size() - listener.told_heard >= kMostHeardHeld * kIdBytes) return true;
  return share.news.IsDue(listener.told, [&](PieceIndex piece) {
    return static_cast<uint32_t>(piece) < listener.has.size() && listener.has.Has(piece);
  });
}

void Cluster::TellNewsTo(NeighbourLink& link, const Share& share, Listener& listener) {
  while (listener.told < share.news.end() || listener.told_heard < share.heard.size()) {
    v1::News news;
    news.set_blob(ToRaw(share.blob));
    news.set_known(share.heard.substr(listener.told_heard, kMaxPiecesPerNews * kIdBytes));
    listener.told_heard += news.known().size();
    const auto untold = share.news.Since(listener.told);
    for (const PieceIndex piece : untold.first(std::min(untold.size(), kPiecesPerNews))) {
      ++listener.told;
      const auto& sum = share.promised[static_cast<uint32_t>(piece)];
      if (!sum) continue;
      news.add_pieces(static_cast<uint32_t>(piece));
      news.mutable_sums()->append(ToRaw(*sum));
    }
    TellPieces(link, share, listener, news);
  }
}

// `news` without attestations.
void Cluster::TellPieces(NeighbourLink& link, const Share& share, Listener& listener,
                         const v1::News& news) {
  v1::NeighbourMessage message;
  message.mutable_news()->set_blob(news.blob());
  size_t bytes = 0;
  for (const uint32_t piece : news.pieces()) {
    for (const auto& attested : share.attested[piece]) {
      if (!listener.knows.insert(attested->id).second) continue;
      const size_t size = attested->attestation->ByteSizeLong();
      if (bytes > 0 && bytes + size > kAttestationBytesPerNews) {
        Send(link, message);
        message.mutable_news()->clear_attestations();
        bytes = 0;
      }
      *message.mutable_news()->add_attestations() = *attested->attestation;
      bytes += size;
    }
  }
  message.mutable_news()->MergeFrom(news);
  Send(link, message);
}

void Cluster::TellAll(NeighbourLink& link, const Share& share, Listener& listener) {
  listener.told = share.news.end();
  listener.told_heard = share.heard.size();
  v1::News news;
  news.set_blob(ToRaw(share.blob));
  const auto flush = [&] {
    if (news.pieces_size() > 0) TellPieces(link, share, listener, news);
    news.clear_pieces();
    news.clear_sums();
  };
  for (uint32_t piece = 0; piece < share.promised.size(); ++piece) {
    if (!share.promised[piece]) continue;
    news.add_pieces(piece);
    news.mutable_sums()->append(ToRaw(*share.promised[piece]));
    if (news.pieces_size() >= static_cast<int>(kPiecesPerNews)) flush();
  }
  flush();
}

// --- what they say ---

Status Cluster::OnHave(NeighbourLink& link, const v1::Have& have) {
  const auto blob = FromRaw(have.blob());
  const size_t count = have.sums().size() / Digest::kBytes;
  if (!blob || have.sums().size() % Digest::kBytes != 0 || count == 0 ||
      count > kMaxPiecesPerNews || uint64_t{have.first()} + count > UINT32_MAX) {
    return InvalidArgument("a Have beyond its limits");
  }
  std::vector<PieceSum> pieces;
  for (size_t i = 0; i < count; ++i) {
    pieces.push_back({PieceIndex{have.first() + static_cast<uint32_t>(i)}, SumAt(have.sums(), i)});
  }
  return OnPieces(link, *blob, pieces);
}

Status Cluster::OnNews(NeighbourLink& link, const v1::News& news) {
  const auto blob = FromRaw(news.blob());
  const auto count = static_cast<size_t>(news.pieces_size());
  if (!blob || count > kMaxPiecesPerNews || news.sums().size() != count * Digest::kBytes ||
      news.known().size() % kIdBytes != 0 || news.known().size() > kMaxPiecesPerNews * kIdBytes) {
    return InvalidArgument("News beyond their limits");
  }
  for (const v1::Attestation& attestation : news.attestations()) {
    TRY_STATUS(OnAttestation(link.peer().id, attestation));
  }
  if (!news.known().empty()) {
    MutexLock lock(mutex_);
    Share* const share = FindShare(*blob);
    const auto listener = share == nullptr ? std::map<std::string, Listener>::iterator{}
                                           : share->listeners.find(link.peer().id);
    if (share != nullptr && listener != share->listeners.end()) {
      auto& knows = listener->second.knows;
      for (size_t at = 0; at < news.known().size() && knows.size() < kMaxKnownOfListener;
           at += kIdBytes) {
        knows.insert(IdOf(std::string_view(news.known()).substr(at)));
      }
    }
  }
  if (count == 0) return OkStatus();
  std::vector<PieceSum> pieces;
  for (size_t i = 0; i < count; ++i) {
    pieces.push_back({PieceIndex{news.pieces(static_cast<int>(i))}, SumAt(news.sums(), i)});
  }
  return OnPieces(link, *blob, pieces);
}

Status Cluster::OnPieces(NeighbourLink& link, const Digest& blob,
                         const std::vector<PieceSum>& pieces) {
  NoteHave(link.peer().id, blob, pieces);
  const auto transfer = TransferOf(blob);
  if (!transfer) return OkStatus();
  for (const PieceSum& piece : pieces) {
    if (static_cast<uint32_t>(piece.piece) >= transfer->pieces()) {
      return InvalidArgument("a Have of pieces that do not exist");
    }
  }
  transfer->OnHave(link.peer(), pieces);
  return OkStatus();
}

// What it has need not be told to it soon; and of a blob that this node seeds, what few have it
// sends first. See NewsLog and UploadQueue.
void Cluster::NoteHave(const std::string& id, const Digest& blob,
                       const std::vector<PieceSum>& pieces) {
  MutexLock lock(mutex_);
  const auto share = shares_.find(blob);
  if (share == shares_.end()) return;
  const auto listener = share->second.listeners.find(id);
  if (listener == share->second.listeners.end()) return;
  PieceBitmap& has = listener->second.has;
  const auto count = static_cast<uint32_t>(share->second.promised.size());
  if (has.size() != count) has = PieceBitmap(count);
  for (const PieceSum& piece : pieces) {
    if (static_cast<uint32_t>(piece.piece) < count) has.Set(piece.piece);
  }
}

// That neighbour need not be told of it.
void Cluster::NoteKnown(Share& share, const std::string& from, const Digest& attestation) {
  const auto listener = share.listeners.find(from);
  if (listener != share.listeners.end()) listener->second.knows.insert(IdOf(attestation));
}

// An attestation goes along with a piece. Where it is the only one of a piece that was told
// already, the piece is told once more, or a neighbour could never ask for it.
void Cluster::TellAgain(Share& share, PieceRun run) {
  for (uint64_t piece = run.begin(); piece < std::min<uint64_t>(run.end(), share.promised.size());
       ++piece) {
    if (!share.promised[piece] || share.attested[piece].size() != 1) continue;
    share.news.Add(PieceIndex{static_cast<uint32_t>(piece)}, std::chrono::steady_clock::now());
    return;
  }
}

// `from` "" = the tracker.
Status Cluster::OnAttestation(const std::string& from, const v1::Attestation& attestation) {
  const auto unchecked = TRY(ParsePieceSums(attestation.payload()));
  const Digest hash = HashOf(attestation);
  {
    MutexLock lock(mutex_);
    Share* const share = FindShare(unchecked.blob);
    if (share == nullptr) return OkStatus();
    const bool known = share->known.contains(hash);
    const bool room = HasRoom(*share, attestation);
    if (known) NoteKnown(*share, from, hash);
    if (known || !room) return OkStatus();
    if (share->size_bytes != unchecked.size_bytes) return OkStatus();
  }
  const auto sums = TRY(options_.attester.Check(attestation));
  std::shared_ptr<ClusterTransfer> transfer;
  {
    MutexLock lock(mutex_);
    Share* const share = FindShare(sums.blob);
    if (share == nullptr || banned_.contains(sums.node_id)) return OkStatus();
    const PieceRun run{sums.sums.front().piece, static_cast<uint32_t>(sums.sums.size())};
    if (!AddAttestation(*share, attestation, sums.node_id, run)) return OkStatus();
    NoteKnown(*share, from, hash);
    TellAgain(*share, run);
    share->heard += ToRaw(hash).substr(0, kIdBytes);
    PlanNews(*share);
    transfer = share->transfer.lock();
  }
  if (transfer) transfer->OnSums(sums.node_id, sums.sums);
  return OkStatus();
}

}  // namespace hearth::p2p
