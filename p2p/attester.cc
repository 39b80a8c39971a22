#include "p2p/attester.h"

#include <algorithm>
#include <utility>

#include "base/raw_digest.h"

namespace hearth::p2p {

namespace {

std::string Signed(const std::string& payload) {
  return std::string(kAttestationContext) + payload;
}

}  // namespace

Result<AttestedSums> ParsePieceSums(const std::string& payload) {
  if (payload.size() > kMaxAttestationBytes) return InvalidArgument("an attestation is too long");
  v1::PieceSums told;
  if (!told.ParseFromString(payload)) return InvalidArgument("an attestation cannot be read");
  const size_t count = told.sums().size() / Digest::kBytes;
  const uint32_t pieces = told.size_bytes() == 0 || told.size_bytes() > uint64_t{1} << 44
                              ? 0
                              : PieceCount(told.size_bytes(), PieceSizeFor(told.size_bytes()));
  if (told.blob().size() != Digest::kBytes || told.sums().size() % Digest::kBytes != 0 ||
      count == 0 || count > kMaxSumsPerAttestation || told.first_piece() >= pieces ||
      count > pieces - told.first_piece()) {
    return InvalidArgument("an attestation names no pieces of a blob");
  }
  AttestedSums sums;
  sums.blob = *FromRaw(told.blob());
  sums.size_bytes = told.size_bytes();
  for (size_t i = 0; i < count; ++i) {
    sums.sums.push_back(
        {PieceIndex{told.first_piece() + static_cast<uint32_t>(i)},
         *FromRaw(std::string_view(told.sums()).substr(i * Digest::kBytes, Digest::kBytes))});
  }
  return sums;
}

Result<std::shared_ptr<const Attester::Own>> Attester::GetOwn() {
  const auto identity = options_.identity();
  if (!identity) return FailedPrecondition("this node has no certificate yet");
  MutexLock lock(mutex_);
  if (own_ && own_->source == identity) return own_;
  own_ = std::make_shared<const Own>(Own{identity, TRY(net::PrivateKey::FromPem(identity->key_pem)),
                                         TRY(net::Certificate::FromPem(identity->certificate_pem)),
                                         TRY(net::Certificate::FromPem(identity->ca_pem))});
  signers_.clear();
  return own_;
}

Result<v1::Attestation> Attester::Sign(const Digest& blob, uint64_t size_bytes, PieceIndex first,
                                       const std::vector<Digest>& sums) {
  const auto own = TRY(GetOwn());
  v1::PieceSums told;
  told.set_blob(ToRaw(blob));
  told.set_size_bytes(size_bytes);
  told.set_first_piece(static_cast<uint32_t>(first));
  for (const Digest& sum : sums) told.mutable_sums()->append(ToRaw(sum));
  told.set_signed_unix_seconds(ToUnixNanos(options_.clock.WallNow()) / 1'000'000'000);
  v1::Attestation attestation;
  attestation.set_payload(told.SerializeAsString());
  attestation.set_certificate(own->certificate.ToDer());
  attestation.set_signer(ToRaw(own->certificate.Fingerprint()));
  attestation.set_signature(own->key.Sign(Signed(attestation.payload())));
  return attestation;
}

Result<net::Certificate> Attester::SignerOf(const v1::Attestation& attestation,
                                            const net::Certificate& authority, WallTime signed_at) {
  {
    MutexLock lock(mutex_);
    const auto known = signers_.find(attestation.certificate());
    if (known != signers_.end()) {
      const net::Certificate& signer = known->second;
      if (signed_at < signer.NotBefore() || signed_at > signer.NotAfter()) {
        return Unauthenticated("signed when the certificate was not valid");
      }
      return signer;
    }
  }
  if (attestation.certificate().size() > net::kMaxCertificateBytes) {
    return InvalidArgument("the signer's certificate is too long");
  }
  auto signer = TRY(net::Certificate::FromDer(attestation.certificate()));
  TRY_STATUS(signer.CheckIssuedBy(authority, signed_at));
  const auto identity = TRY(signer.ReadIdentity());
  if (identity.role != net::Role::kNode || identity.cluster != options_.cluster) {
    return Unauthenticated("signed by no node of this cluster");
  }
  MutexLock lock(mutex_);
  if (signers_.size() >= kMaxSigners) signers_.clear();
  signers_.emplace(attestation.certificate(), signer);
  return signer;
}

Result<AttestedSums> Attester::Check(const v1::Attestation& attestation) {
  const auto own = TRY(GetOwn());
  auto sums = TRY(ParsePieceSums(attestation.payload()));
  v1::PieceSums told;
  CHECK(told.ParseFromString(attestation.payload()));
  const WallTime signed_at{
      std::chrono::seconds(std::clamp<int64_t>(told.signed_unix_seconds(), 0, int64_t{1} << 33))};
  if (signed_at > options_.clock.WallNow() + net::kClockTolerance) {
    return Unauthenticated("signed in the future; check the clocks");
  }
  const auto signer = TRY(SignerOf(attestation, own->authority, signed_at));
  TRY_STATUS(signer.CheckSignature(Signed(attestation.payload()), attestation.signature()));
  sums.node_id = TRY(signer.ReadIdentity()).id;
  return sums;
}

}  // namespace hearth::p2p
