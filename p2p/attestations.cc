#include "p2p/attestations.h"

#include <algorithm>

namespace hearth::p2p {

Attestations::Piece* Attestations::Find(PieceIndex piece) {
  return const_cast<Piece*>(std::as_const(*this).Find(piece));
}

const Attestations::Piece* Attestations::Find(PieceIndex piece) const {
  const auto number = static_cast<uint32_t>(piece);
  return number < pieces_.size() ? &pieces_[number] : nullptr;
}

Attestations::Added Attestations::Add(AttesterId attester, const PieceSum& told) {
  Piece* const piece = Find(told.piece);
  if (piece == nullptr || IsDistrusted(attester)) return Added::kIgnored;
  auto& sums = piece->sums;
  const auto sum = std::ranges::find(sums, told.sum, &Sum::sum);
  if (piece->settled) return sum == sums.end() ? Added::kConflict : Added::kKnown;
  if (sum != sums.end()) {
    const bool known = std::ranges::find(sum->attesters, attester) != sum->attesters.end();
    if (!known && sum->attesters.size() < kMaxAttestersPerSum) sum->attesters.push_back(attester);
    return Added::kKnown;
  }
  if (sums.size() >= kMaxSumsPerPiece) return Added::kIgnored;
  sums.push_back({told.sum, {attester}});
  return sums.size() == 1 ? Added::kNew : Added::kConflict;
}

std::vector<AttesterId> Attestations::Settle(const PieceSum& truth) {
  std::vector<AttesterId> wrong;
  Piece* const piece = Find(truth.piece);
  if (piece == nullptr) return wrong;
  for (const Sum& sum : piece->sums) {
    if (sum.sum == truth.sum) continue;
    wrong.insert(wrong.end(), sum.attesters.begin(), sum.attesters.end());
  }
  piece->settled = true;
  piece->sums = {{truth.sum, {}}};
  distrusted_.insert(wrong.begin(), wrong.end());
  return wrong;
}

std::vector<AttesterId> Attestations::SettleExpected() {
  std::vector<AttesterId> wrong;
  for (uint32_t piece = 0; piece < pieces_.size(); ++piece) {
    const auto sum = Expected(PieceIndex{piece});
    if (!sum) continue;
    const auto found = Settle({PieceIndex{piece}, *sum});
    wrong.insert(wrong.end(), found.begin(), found.end());
  }
  std::ranges::sort(wrong);
  // Not std::ranges::unique: clang 14 does not compile what it returns.
  wrong.erase(std::unique(wrong.begin(), wrong.end()), wrong.end());
  return wrong;
}

std::vector<PieceIndex> Attestations::Distrust(AttesterId attester) {
  std::vector<PieceIndex> changed;
  if (!distrusted_.insert(attester).second) return changed;
  for (uint32_t number = 0; number < pieces_.size(); ++number) {
    Piece& piece = pieces_[number];
    if (piece.settled) continue;
    const auto before = Expected(PieceIndex{number});
    for (Sum& sum : piece.sums) std::erase(sum.attesters, attester);
    std::erase_if(piece.sums, [](const Sum& sum) { return sum.attesters.empty(); });
    if (Expected(PieceIndex{number}) != before) changed.push_back(PieceIndex{number});
  }
  return changed;
}

std::optional<Digest> Attestations::Expected(PieceIndex index) const {
  const Piece* const piece = Find(index);
  if (piece == nullptr || piece->sums.empty() || (!judged_ && !piece->settled)) {
    return std::nullopt;
  }
  return piece->sums.front().sum;
}

bool Attestations::IsSettled(PieceIndex index) const {
  const Piece* const piece = Find(index);
  return piece != nullptr && piece->settled;
}

std::optional<AttesterId> Attestations::Attester(PieceIndex index) const {
  const Piece* const piece = Find(index);
  if (piece == nullptr || piece->settled || piece->sums.empty()) return std::nullopt;
  return piece->sums.front().attesters.front();
}

bool Attestations::Promise(SourceId source, const PieceSum& promised) {
  if (Find(promised.piece) == nullptr) return false;
  if (Expected(promised.piece) == promised.sum) return true;
  if (other_promises_.size() < kMaxOtherPromises) {
    other_promises_[{source, promised.piece}] = promised.sum;
  }
  return false;
}

void Attestations::RemoveSource(SourceId source) {
  other_promises_.erase(other_promises_.lower_bound({source, PieceIndex{0}}),
                        other_promises_.upper_bound({source, PieceIndex{UINT32_MAX}}));
}

std::vector<SourceId> Attestations::Promisers(PieceIndex piece) {
  std::vector<SourceId> sources;
  const auto expected = Expected(piece);
  std::erase_if(other_promises_, [&](const auto& promise) {
    if (promise.first.second != piece || promise.second != expected) return false;
    sources.push_back(promise.first.first);
    return true;
  });
  return sources;
}

std::vector<PieceIndex> Attestations::Suspects(size_t most) const {
  std::vector<PieceIndex> suspects;
  std::map<AttesterId, uint32_t> named;
  std::vector<std::pair<uint32_t, uint32_t>> order;  // how many of its attester come before, piece
  for (uint32_t number = 0; number < pieces_.size(); ++number) {
    const Piece& piece = pieces_[number];
    if (piece.settled || piece.sums.empty()) continue;
    const uint32_t turn = ++named[piece.sums.front().attesters.front()];
    order.emplace_back(piece.sums.size() > 1 ? 0 : turn, number);
  }
  std::ranges::sort(order);
  for (size_t i = 0; i < std::min(most, order.size()); ++i) {
    suspects.push_back(PieceIndex{order[i].second});
  }
  return suspects;
}

}  // namespace hearth::p2p
