// NewsLog: the pieces of one blob that a node tells its neighbours of, and whom it tells when.
//
// Plain state: no I/O, no clock, no lock. A neighbour that lacks a piece waits for the news of it;
// one that has it only counts who else does. So a neighbour is told of all that came since it was
// told last once it lacks any of that, else when it is kMostHeld pieces.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "base/piece.h"
#include "p2p/news_pace.h"

namespace hearth::p2p {

class NewsLog {
 public:
  static constexpr size_t kMostHeld = 16;
  // How far a neighbour has been told; starts at end(), with all that is here told by other means.
  using Place = uint32_t;

  void Add(PieceIndex piece, SteadyTime now) {
    pieces_.push_back(piece);
    pace_.OnPiece(now);
  }
  // All places before are void.
  void Clear() {
    pieces_.clear();
    planned_ = false;
  }
  // True: neighbours are to be told in Gather(), and Begin() called then; else that is planned.
  bool Plan() { return !std::exchange(planned_, true); }
  std::chrono::nanoseconds Gather() const { return pace_.Gather(); }
  // False: there is nothing to tell any more.
  bool Begin() { return std::exchange(planned_, false); }
  Place end() const { return static_cast<Place>(pieces_.size()); }
  std::span<const PieceIndex> Since(Place told) const { return std::span(pieces_).subspan(told); }
  // `has`: does the neighbour have the piece, as far as this node knows?
  template <typename Has>
  bool IsDue(Place told, const Has& has) const {
    const auto untold = Since(told);
    return untold.size() >= kMostHeld || !std::ranges::all_of(untold, has);
  }

 private:
  std::vector<PieceIndex> pieces_;  // told again: more than once
  NewsPace pace_;
  bool planned_ = false;
};

}  // namespace hearth::p2p
