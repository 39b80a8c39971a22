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

Attestations Attestations::ForNextTry() const {
  Attestations next = *this;
  next.belief_ = Belief::kSettled;
  next.other_promises_.clear();
  return next;
}

Attestations::Added Attestations::Add(AttesterId attester, const PieceSum& told) {
  Piece* const piece = Find(told.piece);
  if (piece == nullptr || IsDistrusted(attester)) return Added::kIgnored;
  auto& sums = piece->sums;
  const auto sum = std::ranges::find(sums, told.sum, &Sum::sum);
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
  piece->settled = Settled::kTrue;
  piece->sums = {{truth.sum, {}}};
  distrusted_.insert(wrong.begin(), wrong.end());
  return wrong;
}

bool Attestations::Agree(const PieceSum& told) {
  Piece* const piece = Find(told.piece);
  if (piece == nullptr || piece->settled == Settled::kTrue) return false;
  const auto before = Expected(told.piece);
  auto& sums = piece->sums;
  const auto sum = std::ranges::find(sums, told.sum, &Sum::sum);
  if (sum != sums.end()) {
    std::rotate(sums.begin(), sum, sum + 1);
  } else {
    if (sums.size() >= kMaxSumsPerPiece) sums.pop_back();
    sums.insert(sums.begin(), {told.sum, {}});
  }
  piece->settled = Settled::kAgreed;
  return before && *before != told.sum;
}

std::vector<Attestations::Contradiction> Attestations::Verified(
    const std::function<bool(PieceIndex)>& checked) {
  std::vector<Contradiction> found;
  std::set<AttesterId> named;
  for (uint32_t number = 0; number < pieces_.size(); ++number) {
    const PieceIndex index{number};
    const auto truth = Expected(index);
    if (!truth || !checked(index)) continue;
    for (const AttesterId attester : Settle({index, *truth})) {
      if (named.insert(attester).second) found.push_back({attester, {index, *truth}});
    }
  }
  return found;
}

std::optional<Digest> Attestations::Expected(PieceIndex index) const {
  const Piece* const piece = Find(index);
  if (piece == nullptr || piece->sums.empty()) return std::nullopt;
  if (belief_ == Belief::kSettled && piece->settled == Settled::kNo) return std::nullopt;
  return piece->sums.front().sum;
}

Attestations::Settled Attestations::settled(PieceIndex index) const {
  const Piece* const piece = Find(index);
  return piece == nullptr ? Settled::kNo : piece->settled;
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

}  // namespace hearth::p2p
