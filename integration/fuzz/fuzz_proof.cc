// Any bytes as the attestation that proves an accusation: as the message, and as what an accused
// node signed. Nothing is proven that it did not say.
#include <chrono>
#include <cstdint>
#include <string>

#include "base/clock.h"
#include "base/raw_digest.h"
#include "hearth/v1/attestation.pb.h"
#include "manager/attestation.h"

namespace {

using namespace hearth;  // NOLINT: one file

struct Lab {
  WallTime now = RealClock().WallNow();
  net::PrivateKey ca_key = net::PrivateKey::Generate();
  net::Certificate authority =
      net::Certificate::MakeAuthority(ca_key, "fuzz", now, std::chrono::hours(24 * 365));
  net::PrivateKey key = net::PrivateKey::Generate();
  net::Certificate certificate = Issue();

  net::Certificate Issue() const {
    const auto request = net::SigningRequest::FromPem(net::SigningRequest::MakePem(key)).value();
    const net::Identity own{net::Role::kNode, "lab", "a"};
    return authority.Issue(ca_key, request, {own, "a", {}}, now).value();
  }
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const Lab* const lab = new Lab;
  static const Digest blob = Digest::Of("blob");  // which the corpus names
  v1::Attestation proof;
  if (proof.ParseFromArray(data, static_cast<int>(size))) {
    CHECK(!manager::CheckProof(proof, lab->authority, "a", blob, 0, lab->now).ok());
  }
  proof.set_payload(std::string(reinterpret_cast<const char*>(data), size));
  proof.set_certificate(lab->certificate.ToDer());
  proof.set_signature(lab->key.Sign(std::string(kAttestationContext) + proof.payload()));
  const auto told = manager::ReadAttestation(proof, lab->certificate);
  if (!told.ok()) {
    CHECK(!manager::CheckProof(proof, lab->authority, "a", blob, 0, lab->now).ok());
    return 0;
  }
  const uint32_t pieces = PieceCount(told->size_bytes, PieceSizeFor(told->size_bytes));
  bool says = false;
  for (const PieceSum& sum : told->sums) {
    CHECK(static_cast<uint32_t>(sum.piece) < pieces);
    says = says || static_cast<uint32_t>(sum.piece) == 0;
  }
  if (manager::CheckProof(proof, lab->authority, "a", blob, 0, lab->now).ok()) {
    CHECK(says && told->blob == blob);
  }
  return 0;
}
