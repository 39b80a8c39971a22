#include "manager/attestation.h"

#include "base/raw_digest.h"
#include "hearth/v1/attestation.pb.h"

namespace hearth::manager {

namespace {

using std::chrono::hours;
using std::chrono::seconds;

constexpr size_t kMaxSums = 4096;
constexpr uint64_t kMaxPieces = 1 << 20;
constexpr size_t kMaxPayloadBytes = kMaxSums * Digest::kBytes + 4096;
constexpr size_t kMaxSignatureBytes = 80;
constexpr hours kMaxProofAge{48};

}  // namespace

Result<ToldSums> ReadAttestation(const v1::Attestation& attestation,
                                 const net::Certificate& signer) {
  if (attestation.payload().size() > kMaxPayloadBytes ||
      attestation.signature().size() > kMaxSignatureBytes) {
    return InvalidArgument("an attestation of so many bytes");
  }
  v1::PieceSums sums;
  if (!sums.ParseFromString(attestation.payload()) || sums.blob().size() != Digest::kBytes ||
      sums.sums().size() % Digest::kBytes != 0 || sums.sums().size() / Digest::kBytes > kMaxSums) {
    return InvalidArgument("an attestation that cannot be read");
  }
  if (sums.size_bytes() / kMaxPieceSizeBytes > kMaxPieces) {
    return InvalidArgument("an attestation for a blob of so many bytes");
  }
  TRY_STATUS(signer.CheckSignature(std::string(kAttestationContext) + attestation.payload(),
                                   attestation.signature()));
  const auto count = static_cast<uint32_t>(sums.sums().size() / Digest::kBytes);
  const uint32_t pieces = PieceCount(sums.size_bytes(), PieceSizeFor(sums.size_bytes()));
  if (sums.first_piece() > pieces || count > pieces - sums.first_piece()) {
    return InvalidArgument("an attestation of pieces that the blob does not have");
  }
  ToldSums told{*FromRaw(sums.blob()), sums.size_bytes(), {}, sums.signed_unix_seconds()};
  for (uint32_t i = 0; i < count; ++i) {
    told.sums.push_back(
        {PieceIndex{sums.first_piece() + i},
         *FromRaw(
             std::string_view(sums.sums()).substr(size_t{i} * Digest::kBytes, Digest::kBytes))});
  }
  return told;
}

Status CheckProof(const v1::Attestation& proof, const net::Certificate& authority,
                  const std::string& accused, const Digest& blob, uint32_t piece, WallTime now) {
  const auto signer = TRY(net::Certificate::FromDer(proof.certificate()));
  const auto told = TRY(ReadAttestation(proof, signer));
  const int64_t now_seconds = std::chrono::duration_cast<seconds>(now.time_since_epoch()).count();
  const int64_t age = now_seconds - std::min(now_seconds, told.signed_unix_seconds);
  if (told.signed_unix_seconds <= 0 || age > seconds(kMaxProofAge).count() ||
      told.signed_unix_seconds > now_seconds + seconds(net::kClockTolerance).count()) {
    return InvalidArgument("the proof is too old, or of the future");
  }
  TRY_STATUS(signer.CheckIssuedBy(authority, WallTime(seconds(told.signed_unix_seconds))));
  if (TRY(signer.ReadIdentity()).id != accused) {
    return InvalidArgument("the proof is signed by another node");
  }
  if (told.blob != blob || told.sums.empty() ||
      piece < static_cast<uint32_t>(told.sums.front().piece) ||
      piece > static_cast<uint32_t>(told.sums.back().piece)) {
    return InvalidArgument("the proof says nothing of this piece");
  }
  return OkStatus();
}

}  // namespace hearth::manager
