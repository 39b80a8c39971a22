// SumLedger: what the nodes that fetched the pieces of one blob from the origin say they hash to.
//
// Plain state of one swarm, part of the Tracker: no I/O, no clock, no lock. A blob with a digest
// needs one opinion of each piece, until its digest disagreed; one without needs two that agree.
#pragma once

#include <cstdint>
#include <vector>

#include "base/piece_sum.h"
#include "manager/member.h"

namespace hearth::manager {

class SumLedger {
 public:
  static constexpr uint32_t kMaxNeed = 4;
  static constexpr size_t kMaxPerPiece = 8;  // opinions; more do not count

  enum class Outcome : uint8_t {
    kKept,       // nothing follows
    kAgreed,     // with this one enough agree
    kContested,  // enough were heard and do not agree: somebody else must fetch the piece
    kIgnored,    // told already, or too many
    kWrong,      // another sum than what was agreed
  };

  SumLedger(uint32_t pieces, uint32_t need) : need_(need), pieces_(pieces) {}

  Outcome Add(NodeId node, const PieceSum& told);
  uint32_t need() const { return need_; }
  // One more must agree from now on.
  void NeedMore() { ++need_; }
  const Digest* Agreed(PieceIndex piece) const;
  std::vector<PieceSum> AllAgreed() const;
  // Those who said something else than what was agreed.
  std::vector<NodeId> Outvoted(PieceIndex piece) const;
  size_t Opinions(PieceIndex piece) const;

 private:
  struct Opinion {
    NodeId node{};
    Digest sum;
  };

  uint32_t need_;
  std::vector<std::vector<Opinion>> pieces_;
};

}  // namespace hearth::manager
