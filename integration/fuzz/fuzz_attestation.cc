// A signed list of sums as a neighbour sends it: the payload, whoever signed it.
#include <cstdint>
#include <string>

#include "base/piece.h"
#include "p2p/attester.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto sums =
      hearth::p2p::ParsePieceSums(std::string(reinterpret_cast<const char*>(data), size));
  if (!sums.ok()) return 0;
  CHECK(!sums->sums.empty() && sums->sums.size() <= hearth::p2p::kMaxSumsPerAttestation);
  const uint32_t pieces =
      hearth::PieceCount(sums->size_bytes, hearth::PieceSizeFor(sums->size_bytes));
  for (const auto& sum : sums->sums) CHECK(static_cast<uint32_t>(sum.piece) < pieces);
  return 0;
}
