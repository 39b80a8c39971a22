#include "manager/sum_ledger.h"

#include <algorithm>

namespace hearth::manager {

SumLedger::Outcome SumLedger::Add(NodeId node, const PieceSum& told) {
  const auto number = static_cast<uint32_t>(told.piece);
  if (number >= pieces_.size()) return Outcome::kIgnored;
  auto& opinions = pieces_[number];
  if (opinions.size() >= kMaxPerPiece ||
      std::ranges::find(opinions, node, &Opinion::node) != opinions.end()) {
    return Outcome::kIgnored;
  }
  const Digest* const before = Agreed(told.piece);
  if (before != nullptr) {
    const bool same = *before == told.sum;
    opinions.push_back({node, told.sum});
    return same ? Outcome::kKept : Outcome::kWrong;
  }
  opinions.push_back({node, told.sum});
  if (Agreed(told.piece) != nullptr) return Outcome::kAgreed;
  return opinions.size() < need_ ? Outcome::kKept : Outcome::kContested;
}

// The first sum that enough say; the order is that of coming.
const Digest* SumLedger::Agreed(PieceIndex piece) const {
  const auto number = static_cast<uint32_t>(piece);
  if (number >= pieces_.size()) return nullptr;
  for (const Opinion& opinion : pieces_[number]) {
    const auto same = std::ranges::count(pieces_[number], opinion.sum, &Opinion::sum);
    if (same >= static_cast<std::ptrdiff_t>(need_)) return &opinion.sum;
  }
  return nullptr;
}

std::vector<PieceSum> SumLedger::AllAgreed() const {
  std::vector<PieceSum> all;
  for (uint32_t piece = 0; piece < pieces_.size(); ++piece) {
    if (const Digest* const sum = Agreed(PieceIndex{piece})) {
      all.push_back({PieceIndex{piece}, *sum});
    }
  }
  return all;
}

std::vector<NodeId> SumLedger::Outvoted(PieceIndex piece) const {
  std::vector<NodeId> nodes;
  const Digest* const agreed = Agreed(piece);
  if (agreed == nullptr) return nodes;
  for (const Opinion& opinion : pieces_[static_cast<uint32_t>(piece)]) {
    if (opinion.sum != *agreed) nodes.push_back(opinion.node);
  }
  return nodes;
}

size_t SumLedger::Opinions(PieceIndex piece) const {
  const auto number = static_cast<uint32_t>(piece);
  return number < pieces_.size() ? pieces_[number].size() : 0;
}

}  // namespace hearth::manager
