#include "net/certificate.h"

#include <gtest/gtest.h>
#include <openssl/evp.h>
#include <openssl/pem.h>

#include <chrono>
#include <string>

namespace hearth::net {
namespace {

using std::chrono::hours;
using std::chrono::minutes;
using std::chrono::seconds;

const WallTime kNow{seconds(1'700'000'000)};

struct Cluster {
  PrivateKey key = PrivateKey::Generate();
  Certificate authority = Certificate::MakeAuthority(key, "Hearth test", kNow, hours(24 * 365));

  Result<Certificate> Issue(const PrivateKey& node, Certificate::Subject subject,
                            WallTime now = kNow) const {
    return authority.Issue(key, SigningRequest::FromPem(SigningRequest::MakePem(node)).value(),
                           subject, now);
  }
};

Certificate::Subject Node(const std::string& id) {
  return {{Role::kNode, "default", id}, "name-of-" + id, {}};
}

TEST(IdentityTest, GoesThroughItsUri) {
  for (const Identity& identity :
       {Identity{Role::kNode, "default", "n1"}, Identity{Role::kManager, "", "m.0_a-Z"}}) {
    EXPECT_EQ(Identity::Parse(identity.ToUri()).value(), identity) << identity.ToUri();
  }
}

TEST(IdentityTest, RefusesWhatIsNone) {
  const std::string with_nul("hearth://default/node/a\0b", 25);
  for (const std::string& uri :
       {std::string(), std::string("hearth://"), std::string("hearth:///node/n1"),
        std::string("hearth://default/manager/m"), std::string("hearth://default/admin/n1"),
        std::string("hearth://default/node/"), std::string("hearth://default/node/a/b"),
        std::string("https://default/node/n1"), std::string("hearth://a b/node/n1"),
        std::string("hearth://default/node/") + std::string(65, 'a'), with_nul}) {
    EXPECT_EQ(Identity::Parse(uri).status().code(), StatusCode::kInvalidArgument) << uri;
  }
}

TEST(PrivateKeyTest, GoesThroughPem) {
  const PrivateKey key = PrivateKey::Generate();
  const auto read = PrivateKey::FromPem(key.ToPem().Reveal());
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(read->PublicKeyHash(), key.PublicKeyHash());
  EXPECT_NE(PrivateKey::Generate().PublicKeyHash(), key.PublicKeyHash());
}

std::string PemOfKind(const char* kind) {
  EVP_PKEY* key = std::string_view(kind) == "RSA" ? EVP_RSA_gen(1024) : EVP_EC_gen(kind);
  BIO* bio = BIO_new(BIO_s_mem());
  PEM_write_bio_PKCS8PrivateKey(bio, key, nullptr, nullptr, 0, nullptr, nullptr);
  char* data = nullptr;
  const long size = BIO_get_mem_data(bio, &data);
  std::string pem(data, static_cast<size_t>(size));
  BIO_free(bio);
  EVP_PKEY_free(key);
  return pem;
}

TEST(PrivateKeyTest, RefusesOtherKindsOfKeys) {
  EXPECT_EQ(PrivateKey::FromPem(PemOfKind("RSA")).status().code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(PrivateKey::FromPem(PemOfKind("P-384")).status().code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(PrivateKey::FromPem("").status().code(), StatusCode::kInvalidArgument);
}

TEST(CertificateTest, SaysWhoItIsFor) {
  const Cluster cluster;
  const PrivateKey node = PrivateKey::Generate();
  const auto issued = cluster.Issue(node, Node("n1"));
  ASSERT_TRUE(issued.ok()) << issued.status();
  const auto read = Certificate::FromPem(issued->ToPem());
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(read->ReadIdentity().value(), (Identity{Role::kNode, "default", "n1"}));
  EXPECT_EQ(read->CommonName(), "name-of-n1");
  EXPECT_EQ(read->NotBefore(), kNow - hours(2));
  EXPECT_EQ(read->NotAfter(), kNow + hours(24));
  EXPECT_EQ(read->PublicKeyHash(), node.PublicKeyHash());
  EXPECT_EQ(Certificate::FromDer(read->ToDer()).value().Fingerprint(), issued->Fingerprint());
  EXPECT_EQ(read->CheckIssuedBy(cluster.authority, kNow), OkStatus());
}

TEST(CertificateTest, AManagerHasHostsBesideItsIdentity) {
  const Cluster cluster;
  Certificate::Subject subject{{Role::kManager, "", "m1"}, "", {"localhost", "10.0.0.1", "::1"}};
  const auto issued = cluster.Issue(PrivateKey::Generate(), subject);
  ASSERT_TRUE(issued.ok()) << issued.status();
  EXPECT_EQ(issued->ReadIdentity().value(), subject.identity);
}

TEST(CertificateTest, IsRefusedOutsideOfItsTime) {
  const Cluster cluster;
  const auto issued = cluster.Issue(PrivateKey::Generate(), Node("n1"));
  ASSERT_TRUE(issued.ok());
  for (const auto& [now, ok] :
       {std::pair{kNow - hours(2), true}, std::pair{kNow - hours(2) - seconds(1), false},
        std::pair{kNow + hours(24) - seconds(1), true}, std::pair{kNow + hours(24), false}}) {
    EXPECT_EQ(issued->CheckIssuedBy(cluster.authority, now).ok(), ok)
        << (now - kNow) / seconds(1) << " s";
  }
}

TEST(CertificateTest, OfAnotherClusterIsRefused) {
  const Cluster ours;
  const Cluster theirs;  // the same name, another key
  const auto foreign = theirs.Issue(PrivateKey::Generate(), Node("n1"));
  ASSERT_TRUE(foreign.ok());
  EXPECT_EQ(foreign->CheckIssuedBy(ours.authority, kNow).code(), StatusCode::kUnauthenticated);
  EXPECT_EQ(theirs.authority.CheckIssuedBy(ours.authority, kNow).code(),
            StatusCode::kUnauthenticated);
}

TEST(CertificateTest, ANodeIsNoAuthority) {
  const Cluster cluster;
  const PrivateKey node = PrivateKey::Generate();
  const auto certificate = cluster.Issue(node, Node("n1"));
  ASSERT_TRUE(certificate.ok());
  const auto request = SigningRequest::FromPem(SigningRequest::MakePem(PrivateKey::Generate()));
  const auto forged = certificate->Issue(node, request.value(), Node("n2"), kNow);
  ASSERT_TRUE(forged.ok());
  EXPECT_EQ(forged->CheckIssuedBy(*certificate, kNow).code(), StatusCode::kUnauthenticated);
  EXPECT_EQ(forged->CheckIssuedBy(cluster.authority, kNow).code(), StatusCode::kUnauthenticated);
}

TEST(CertificateTest, LivesNoLongerThanADayNorThanItsAuthority) {
  const Cluster cluster;
  Certificate::Subject subject = Node("n1");
  subject.life = hours(25);
  EXPECT_EQ(cluster.Issue(PrivateKey::Generate(), subject).status().code(),
            StatusCode::kInvalidArgument);
  const WallTime late = cluster.authority.NotAfter() - minutes(5);
  EXPECT_EQ(cluster.Issue(PrivateKey::Generate(), Node("n1"), late)->NotAfter(),
            cluster.authority.NotAfter());
  EXPECT_EQ(cluster.Issue(PrivateKey::Generate(), Node("n1"), late + minutes(5)).status().code(),
            StatusCode::kFailedPrecondition);
}

TEST(CertificateTest, NamesCannotAddExtensions) {
  const Cluster cluster;
  for (const std::string& host : {std::string("a,URI:hearth:///manager/x"), std::string("a\nb"),
                                  std::string("@section"), std::string()}) {
    Certificate::Subject subject{{Role::kManager, "", "m1"}, "", {host}};
    EXPECT_EQ(cluster.Issue(PrivateKey::Generate(), subject).status().code(),
              StatusCode::kInvalidArgument)
        << host;
  }
  Certificate::Subject subject = Node("n1,URI:hearth:///manager/x");
  EXPECT_FALSE(cluster.Issue(PrivateKey::Generate(), subject).ok());
}

TEST(CertificateTest, HostileTextIsRefused) {
  const Cluster cluster;
  const std::string pem = cluster.authority.ToPem();
  const std::string der = cluster.authority.ToDer();
  for (size_t cut = 0; cut < der.size(); cut += 7) {
    EXPECT_FALSE(Certificate::FromDer(der.substr(0, cut)).ok()) << cut;
  }
  EXPECT_FALSE(Certificate::FromDer(der + "x").ok());
  for (size_t cut = 0; cut + 2 < pem.size(); cut += 7) {
    EXPECT_FALSE(Certificate::FromPem(pem.substr(0, cut)).ok()) << cut;
  }
  // A certificate behind a good one is torn.
  EXPECT_FALSE(Certificate::ChainFromPem(pem + pem.substr(0, pem.size() / 2)).ok());
  EXPECT_EQ(Certificate::ChainFromPem(pem + pem).value().size(), 2u);
  EXPECT_FALSE(Certificate::ChainFromPem(pem + pem + pem + pem + pem).ok());
  EXPECT_FALSE(Certificate::FromPem(std::string(1 << 20, 'A')).ok());
  EXPECT_FALSE(Certificate::FromPem(cluster.key.ToPem().Reveal()).ok());
}

TEST(CertificateTest, ChangedBytesAreNeverAccepted) {
  const Cluster cluster;
  const auto issued = cluster.Issue(PrivateKey::Generate(), Node("n1"));
  ASSERT_TRUE(issued.ok());
  const std::string der = issued->ToDer();
  for (size_t at = 0; at < der.size(); ++at) {
    std::string changed = der;
    changed[at] = static_cast<char>(changed[at] ^ 0x55);
    const auto read = Certificate::FromDer(changed);
    if (!read.ok()) continue;
    EXPECT_FALSE(read->CheckIssuedBy(cluster.authority, kNow).ok()) << "byte " << at;
    (void)read->ReadIdentity();
    (void)read->CommonName();
  }
}

TEST(SigningRequestTest, NeedsItsOwnSignature) {
  const PrivateKey key = PrivateKey::Generate();
  const std::string pem = SigningRequest::MakePem(key);
  EXPECT_EQ(SigningRequest::FromPem(pem).value().PublicKeyHash(), key.PublicKeyHash());
  int accepted = 0;
  for (size_t at = 40; at + 40 < pem.size(); ++at) {
    std::string changed = pem;
    changed[at] = changed[at] == 'A' ? 'B' : 'A';
    accepted += changed != pem && SigningRequest::FromPem(changed).ok() ? 1 : 0;
  }
  EXPECT_EQ(accepted, 0);
  EXPECT_FALSE(SigningRequest::FromPem("").ok());
  EXPECT_FALSE(SigningRequest::FromPem(std::string(1 << 20, 'A')).ok());
}

TEST(SignatureTest, IsOfOneKeyOverTheseBytes) {
  const Cluster cluster;
  const PrivateKey key = PrivateKey::Generate();
  const auto certificate = cluster.Issue(key, Node("n1"));
  ASSERT_TRUE(certificate.ok());
  const std::string signature = key.Sign("sums");
  EXPECT_EQ(certificate->CheckSignature("sums", signature), OkStatus());
  EXPECT_EQ(certificate->CheckSignature("sumx", signature).code(), StatusCode::kUnauthenticated);
  EXPECT_EQ(certificate->CheckSignature("sums", "").code(), StatusCode::kUnauthenticated);
  EXPECT_EQ(cluster.authority.CheckSignature("sums", signature).code(),
            StatusCode::kUnauthenticated);
}

}  // namespace
}  // namespace hearth::net
