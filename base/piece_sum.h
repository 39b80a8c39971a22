// PieceSum: what one piece of a blob hashes to, by somebody's word.
#pragma once

#include <string_view>

#include "base/digest.h"
#include "base/piece.h"

namespace hearth {

// What the signature of an attestation is made over begins with it, then comes the payload. With
// its NUL: no other message that the key signs begins with these bytes.
inline constexpr std::string_view kAttestationContext{"hearth attestation v1\0", 22};

struct PieceSum {
  PieceIndex piece{};
  Digest sum;
  friend bool operator==(const PieceSum&, const PieceSum&) = default;
};

}  // namespace hearth
