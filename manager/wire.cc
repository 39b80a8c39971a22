#include "manager/wire.h"

#include "base/raw_digest.h"
#include "hearth/v1/tracker.pb.h"
#include "manager/tracker_hub.h"

namespace hearth::manager {

Result<Digest> ReadDigest(const std::string& bytes) {
  const auto digest = FromRaw(bytes);
  if (!digest) return InvalidArgument("a digest is 32 bytes");
  return *digest;
}

Result<std::vector<Digest>> ReadDigests(const std::string& bytes) {
  if (bytes.size() % Digest::kBytes != 0) return InvalidArgument("digests are 32 bytes each");
  if (bytes.size() / Digest::kBytes > TrackerHub::kMaxDigestsPerMessage) {
    return InvalidArgument("more than 16384 digests in one message");
  }
  std::vector<Digest> digests;
  digests.reserve(bytes.size() / Digest::kBytes);
  for (size_t at = 0; at < bytes.size(); at += Digest::kBytes) {
    digests.push_back(TRY(ReadDigest(bytes.substr(at, Digest::kBytes))));
  }
  return digests;
}

Result<std::vector<PieceRun>> ReadRuns(const google::protobuf::RepeatedPtrField<v1::Run>& runs) {
  if (runs.size() > TrackerHub::kMaxRunsPerMessage) {
    return InvalidArgument("more than 256 runs in one message");
  }
  std::vector<PieceRun> read;
  for (const v1::Run& run : runs) {
    if (run.count() == 0 || run.count() > UINT32_MAX - run.first()) {
      return InvalidArgument("a run of no pieces, or beyond all of them");
    }
    read.push_back({PieceIndex{run.first()}, run.count()});
  }
  return read;
}

void Fill(v1::Run& out, const PieceRun& run) {
  out.set_first(run.begin());
  out.set_count(run.count);
}

}  // namespace hearth::manager
