// Any bytes as the pieces that a stranger has (two bytes: of how many): refused, or within the blob
// and the same when told again.
#include <cstdint>
#include <string_view>

#include "base/piece.h"
#include "base/status.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace hearth;
  if (size < 2) return 0;
  const uint32_t pieces = data[0] | data[1] << 8;
  const std::string_view text(reinterpret_cast<const char*>(data) + 2, size - 2);
  const auto bitmap = PieceBitmap::Decode(text, pieces);
  if (!bitmap.ok()) return 0;
  CHECK(bitmap->size() == pieces && bitmap->Encode() == text);
  uint32_t count = 0;
  for (uint32_t piece = 0; piece < pieces; ++piece) count += bitmap->Has(PieceIndex{piece});
  CHECK(count == bitmap->Count() && bitmap->All() == (count == pieces));
  CHECK(bitmap->PrefixLength() <= count);
  return 0;
}
