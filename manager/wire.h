// Digests and runs of pieces as they travel, read and checked. kInvalidArgument: malformed or too
// many.
#pragma once

#include <string>
#include <vector>

#include "base/digest.h"
#include "base/piece.h"
#include "base/status.h"

namespace google::protobuf {
template <typename T>
class RepeatedPtrField;
}

namespace hearth::v1 {
class Run;
}

namespace hearth::manager {

Result<Digest> ReadDigest(const std::string& bytes);
// Of 32 bytes each, one after the other.
Result<std::vector<Digest>> ReadDigests(const std::string& bytes);
Result<std::vector<PieceRun>> ReadRuns(const google::protobuf::RepeatedPtrField<v1::Run>& runs);
void Fill(v1::Run& out, const PieceRun& run);

}  // namespace hearth::manager
