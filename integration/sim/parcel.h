// What goes between the nodes of a SwarmWorld: a piece asked for, on its way, or told of.
#pragma once

#include <cstdint>

#include "base/piece.h"
#include "p2p/download.h"

namespace hearth::sim {

// Whose version of a piece it is: kRight, kGarbage (nobody attests it), else that of a liar.
enum class Content : uint32_t { kRight, kGarbage, kTogether, kFirstLiar };
struct Ask {
  uint32_t to = 0;
  uint32_t life = 0;  // of the transfer of `to`
  uint32_t blob = 0;
  p2p::RequestId request{};
  PieceRun run;
};
// A piece on its way, or one that its uploader has not sent yet.
struct Parcel {
  Ask ask;
  uint32_t from = 0;
  Content content{};
  uint32_t passed = 0;  // shared links on its way
};
struct Told {
  uint32_t attester = 0;
  PieceIndex piece{};
  Content content{};
};

}  // namespace hearth::sim
