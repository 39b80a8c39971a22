#include "net/certificate.h"

#include <openssl/bio.h>
#include <openssl/bn.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include <algorithm>
#include <array>
#include <ctime>
#include <utility>

#include "net/uri_names.h"

namespace hearth::net {

namespace {

constexpr std::string_view kScheme = "hearth://";
constexpr int kSerialBytes = 16;

template <auto Free>
struct Freer {
  template <typename T>
  void operator()(T* object) const {
    Free(object);
  }
};
using KeyPtr = std::unique_ptr<EVP_PKEY, Freer<EVP_PKEY_free>>;
using X509Ptr = std::unique_ptr<X509, Freer<X509_free>>;
using RequestPtr = std::unique_ptr<X509_REQ, Freer<X509_REQ_free>>;
using BioPtr = std::unique_ptr<BIO, Freer<BIO_free_all>>;
using DigestPtr = std::unique_ptr<EVP_MD_CTX, Freer<EVP_MD_CTX_free>>;
using ExtensionPtr = std::unique_ptr<X509_EXTENSION, Freer<X509_EXTENSION_free>>;

// What OpenSSL says is for logs, and often nothing; the queue must not grow.
Status Refuse(const std::string& what) {
  ERR_clear_error();
  return InvalidArgument(what);
}

BioPtr Reader(std::string_view text) {
  BioPtr bio(BIO_new_mem_buf(text.data(), static_cast<int>(text.size())));
  CHECK(bio != nullptr);
  return bio;
}

template <typename Write>
std::string Written(Write write) {
  const BioPtr bio(BIO_new(BIO_s_mem()));
  CHECK(bio != nullptr && write(bio.get()) == 1);
  char* data = nullptr;
  const long size = BIO_get_mem_data(bio.get(), &data);
  return {data, static_cast<size_t>(size)};
}

// i2d_… of `object`.
template <typename T>
std::string Encode(T* object, int (*encode)(const T*, unsigned char**)) {
  const int size = encode(object, nullptr);
  CHECK(size > 0);
  std::string der(static_cast<size_t>(size), '\0');
  auto* out = reinterpret_cast<unsigned char*>(der.data());
  CHECK(encode(object, &out) == size);
  return der;
}

bool IsP256(const EVP_PKEY* key) {
  std::array<char, 32> group{};
  return key != nullptr && EVP_PKEY_is_a(key, "EC") == 1 &&
         EVP_PKEY_get_group_name(key, group.data(), group.size(), nullptr) == 1 &&
         std::string_view(group.data()) == "prime256v1";
}

Digest HashOfPublic(EVP_PKEY* key) { return Digest::Of(Encode<EVP_PKEY>(key, i2d_PUBKEY)); }

// No passphrase is asked for on the terminal.
int NoPassphrase(char*, int, int, void*) { return -1; }

bool IsIdentityPart(std::string_view part) {
  return !part.empty() && part.size() <= kMaxIdentityPartBytes &&
         std::ranges::all_of(part, [](char c) {
           return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                  c == '-' || c == '_' || c == '.';
         });
}

WallTime TimeOf(const ASN1_TIME* time) {
  std::tm parts{};
  if (ASN1_TIME_to_tm(time, &parts) != 1) return WallTime{};
  // A nanosecond clock ends in 2262; who needs more is as good as for ever.
  constexpr std::time_t kLatest = 9'000'000'000;
  return WallTime(std::chrono::seconds(std::min(::timegm(&parts), kLatest)));
}

void SetTime(ASN1_TIME* out, WallTime time) {
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(time.time_since_epoch());
  CHECK(ASN1_TIME_set(out, seconds.count()) != nullptr);
}

void SetSerial(X509* certificate) {
  std::array<unsigned char, kSerialBytes> bytes{};
  CHECK(RAND_bytes(bytes.data(), bytes.size()) == 1);
  bytes[0] = static_cast<unsigned char>((bytes[0] & 0x7f) | 0x40);  // positive, always so long
  BIGNUM* number = BN_bin2bn(bytes.data(), bytes.size(), nullptr);
  CHECK(number != nullptr &&
        BN_to_ASN1_INTEGER(number, X509_get_serialNumber(certificate)) != nullptr);
  BN_free(number);
}

void SetCommonName(X509_NAME* name, const std::string& text) {
  CHECK(X509_NAME_add_entry_by_NID(name, NID_commonName, MBSTRING_UTF8,
                                   reinterpret_cast<const unsigned char*>(text.data()),
                                   static_cast<int>(text.size()), -1, 0) == 1);
}

Status AddExtension(X509* certificate, const X509* issuer, int nid, const std::string& value) {
  X509V3_CTX context;
  X509V3_set_ctx(&context, const_cast<X509*>(issuer), certificate, nullptr, nullptr, 0);
  const ExtensionPtr extension(X509V3_EXT_conf_nid(nullptr, &context, nid, value.c_str()));
  if (extension == nullptr || X509_add_ext(certificate, extension.get(), -1) != 1) {
    return Refuse("a certificate cannot say \"" + value + "\"");
  }
  return OkStatus();
}

X509Ptr NewCertificate(EVP_PKEY* public_key, const std::string& common_name, WallTime from,
                       WallTime until) {
  X509Ptr certificate(X509_new());
  CHECK(certificate != nullptr && X509_set_version(certificate.get(), X509_VERSION_3) == 1);
  SetSerial(certificate.get());
  SetTime(X509_getm_notBefore(certificate.get()), from);
  SetTime(X509_getm_notAfter(certificate.get()), until);
  CHECK(X509_set_pubkey(certificate.get(), public_key) == 1);
  if (!common_name.empty()) {
    SetCommonName(X509_get_subject_name(certificate.get()), common_name);
  }
  return certificate;
}

// X509V3_EXT_conf_nid() reads a small language; only what cannot change its meaning gets in.
Result<std::string> AlternativeName(const Certificate::Subject& subject) {
  std::string names = "URI:" + subject.identity.ToUri();
  for (const std::string& host : subject.hosts) {
    const bool plain = !host.empty() && host.size() <= 253 && std::ranges::all_of(host, [](char c) {
      return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '-' || c == '.' || c == ':' ||
             c == '_';
    });
    if (!plain) return InvalidArgument("\"" + host + "\" is no host name");
    const bool address = host.find(':') != std::string::npos ||
                         host.find_first_not_of("0123456789.") == std::string::npos;
    names += (address ? ",IP:" : ",DNS:") + host;
  }
  return names;
}

bool Verifies(EVP_PKEY* key, std::string_view data, std::string_view signature) {
  const DigestPtr context(EVP_MD_CTX_new());
  CHECK(context != nullptr);
  const bool right =
      EVP_DigestVerifyInit(context.get(), nullptr, EVP_sha256(), nullptr, key) == 1 &&
      EVP_DigestVerify(context.get(), reinterpret_cast<const unsigned char*>(signature.data()),
                       signature.size(), reinterpret_cast<const unsigned char*>(data.data()),
                       data.size()) == 1;
  ERR_clear_error();
  return right;
}

}  // namespace

struct PrivateKey::State {
  KeyPtr key;
};
struct SigningRequest::State {
  RequestPtr request;
  KeyPtr key;
};
struct Certificate::State {
  X509Ptr x509;
  EVP_PKEY* key() const { return X509_get0_pubkey(x509.get()); }
};

std::string Identity::ToUri() const {
  return std::string(kScheme) + cluster + (role == Role::kNode ? "/node/" : "/manager/") + id;
}

Result<Identity> Identity::Parse(std::string_view uri) {
  const auto refused = [] { return InvalidArgument("not an identity of a cluster"); };
  if (!uri.starts_with(kScheme) || uri.size() > 256) return refused();
  const std::string_view rest = uri.substr(kScheme.size());
  const size_t first = rest.find('/');
  const size_t second = first == std::string_view::npos ? first : rest.find('/', first + 1);
  if (second == std::string_view::npos) return refused();
  const std::string_view role = rest.substr(first + 1, second - first - 1);
  Identity identity{role == "node" ? Role::kNode : Role::kManager,
                    std::string(rest.substr(0, first)), std::string(rest.substr(second + 1))};
  if (role != "node" && role != "manager") return refused();
  if (!IsIdentityPart(identity.id)) return refused();
  const bool clustered = identity.role == Role::kNode;
  if (clustered ? !IsIdentityPart(identity.cluster) : !identity.cluster.empty()) return refused();
  return identity;
}

PrivateKey PrivateKey::Generate() {
  KeyPtr key(EVP_EC_gen("P-256"));
  CHECK(key != nullptr);
  return PrivateKey(std::make_shared<State>(State{std::move(key)}));
}

Result<PrivateKey> PrivateKey::FromPem(std::string_view pem) {
  if (pem.size() > kMaxCertificateBytes) return InvalidArgument("a key of so many bytes");
  const BioPtr bio = Reader(pem);
  KeyPtr key(PEM_read_bio_PrivateKey(bio.get(), nullptr, NoPassphrase, nullptr));
  if (!IsP256(key.get())) return Refuse("not an unencrypted EC P-256 key in PEM");
  ERR_clear_error();
  return PrivateKey(std::make_shared<State>(State{std::move(key)}));
}

Secret<std::string> PrivateKey::ToPem() const {
  return Secret(Written([&](BIO* bio) {
    return PEM_write_bio_PKCS8PrivateKey(bio, state_->key.get(), nullptr, nullptr, 0, nullptr,
                                         nullptr);
  }));
}

Digest PrivateKey::PublicKeyHash() const { return HashOfPublic(state_->key.get()); }

std::string PrivateKey::Sign(std::string_view data) const {
  const DigestPtr context(EVP_MD_CTX_new());
  CHECK(context != nullptr &&
        EVP_DigestSignInit(context.get(), nullptr, EVP_sha256(), nullptr, state_->key.get()) == 1);
  const auto* bytes = reinterpret_cast<const unsigned char*>(data.data());
  size_t size = 0;
  CHECK(EVP_DigestSign(context.get(), nullptr, &size, bytes, data.size()) == 1);
  std::string signature(size, '\0');
  CHECK(EVP_DigestSign(context.get(), reinterpret_cast<unsigned char*>(signature.data()), &size,
                       bytes, data.size()) == 1);
  signature.resize(size);
  return signature;
}

std::string SigningRequest::MakePem(const PrivateKey& key) {
  const RequestPtr request(X509_REQ_new());
  EVP_PKEY* pair = key.state_->key.get();
  CHECK(request != nullptr && X509_REQ_set_version(request.get(), X509_REQ_VERSION_1) == 1 &&
        X509_REQ_set_pubkey(request.get(), pair) == 1 &&
        X509_REQ_sign(request.get(), pair, EVP_sha256()) > 0);
  return Written([&](BIO* bio) { return PEM_write_bio_X509_REQ(bio, request.get()); });
}

Result<SigningRequest> SigningRequest::FromPem(std::string_view pem) {
  if (pem.size() > kMaxCertificateBytes) return InvalidArgument("a request of so many bytes");
  const BioPtr bio = Reader(pem);
  RequestPtr request(PEM_read_bio_X509_REQ(bio.get(), nullptr, NoPassphrase, nullptr));
  if (request == nullptr) return Refuse("not a certificate signing request in PEM");
  KeyPtr key(X509_REQ_get_pubkey(request.get()));
  if (!IsP256(key.get())) return Refuse("a signing request needs an EC P-256 key");
  if (X509_REQ_verify(request.get(), key.get()) != 1) {
    return Refuse("the signing request is not signed by its own key");
  }
  return SigningRequest(std::make_shared<State>(State{std::move(request), std::move(key)}));
}

Digest SigningRequest::PublicKeyHash() const { return HashOfPublic(state_->key.get()); }

Result<Certificate> Certificate::FromPem(std::string_view pem) {
  return TRY(ChainFromPem(pem)).front();
}

Result<std::vector<Certificate>> Certificate::ChainFromPem(std::string_view pem) {
  if (pem.size() > kMaxChainLength * kMaxCertificateBytes) {
    return InvalidArgument("certificates of so many bytes");
  }
  const BioPtr bio = Reader(pem);
  std::vector<Certificate> chain;
  while (X509Ptr x509{PEM_read_bio_X509(bio.get(), nullptr, NoPassphrase, nullptr)}) {
    if (!IsP256(X509_get0_pubkey(x509.get()))) return Refuse("a certificate without EC P-256 key");
    if (chain.size() == kMaxChainLength) return Refuse("too many certificates");
    chain.push_back(Certificate(std::make_shared<State>(State{std::move(x509)})));
  }
  // The reader says by an error that there is no further one; any other is a torn certificate.
  const unsigned long error = ERR_peek_last_error();
  if (chain.empty() || ERR_GET_LIB(error) != ERR_LIB_PEM ||
      ERR_GET_REASON(error) != PEM_R_NO_START_LINE) {
    return Refuse("not a certificate in PEM");
  }
  ERR_clear_error();
  return chain;
}

Result<Certificate> Certificate::FromDer(std::string_view der) {
  if (der.size() > kMaxCertificateBytes) return InvalidArgument("a certificate of so many bytes");
  const auto* data = reinterpret_cast<const unsigned char*>(der.data());
  const auto* end = data + der.size();
  X509Ptr x509(d2i_X509(nullptr, &data, static_cast<long>(der.size())));
  if (x509 == nullptr || data != end) return Refuse("not a certificate in DER");
  if (!IsP256(X509_get0_pubkey(x509.get()))) return Refuse("a certificate without EC P-256 key");
  return Certificate(std::make_shared<State>(State{std::move(x509)}));
}

Certificate Certificate::MakeAuthority(const PrivateKey& key, const std::string& common_name,
                                       WallTime now, std::chrono::hours life) {
  EVP_PKEY* pair = key.state_->key.get();
  X509Ptr x509 = NewCertificate(pair, common_name, now - kClockTolerance, now + life);
  CHECK(X509_set_issuer_name(x509.get(), X509_get_subject_name(x509.get())) == 1);
  for (const auto& [nid, value] : {std::pair{NID_basic_constraints, "critical,CA:TRUE,pathlen:0"},
                                   std::pair{NID_key_usage, "critical,keyCertSign,cRLSign"},
                                   std::pair{NID_subject_key_identifier, "hash"}}) {
    CHECK(AddExtension(x509.get(), x509.get(), nid, value).ok());
  }
  CHECK(X509_sign(x509.get(), pair, EVP_sha256()) > 0);
  return Certificate(std::make_shared<State>(State{std::move(x509)}));
}

Result<Certificate> Certificate::Issue(const PrivateKey& key, const SigningRequest& request,
                                       const Subject& subject, WallTime now) const {
  if (subject.life <= std::chrono::seconds(0) || subject.life > kMaxCertificateLife) {
    return InvalidArgument("a certificate lives for at most 24 hours");
  }
  if (!Identity::Parse(subject.identity.ToUri()).ok()) {
    return InvalidArgument("\"" + subject.identity.ToUri() + "\" is no identity");
  }
  if (subject.common_name.size() > kMaxCommonNameBytes) {
    return InvalidArgument("a name of more than 64 bytes does not fit into a certificate");
  }
  if (NotAfter() <= now) return FailedPrecondition("the cluster's authority has expired");
  X509Ptr x509 = NewCertificate(request.state_->key.get(), subject.common_name,
                                std::max(now - kClockTolerance, NotBefore()),
                                std::min<WallTime>(now + subject.life, NotAfter()));
  X509* issuer = state_->x509.get();
  CHECK(X509_set_issuer_name(x509.get(), X509_get_subject_name(issuer)) == 1);
  const std::string names = TRY(AlternativeName(subject));
  for (const auto& [nid, value] :
       {std::pair{NID_basic_constraints, std::string("critical,CA:FALSE")},
        std::pair{NID_key_usage, std::string("critical,digitalSignature")},
        std::pair{NID_ext_key_usage, std::string("serverAuth,clientAuth")},
        std::pair{NID_subject_key_identifier, std::string("hash")},
        std::pair{NID_authority_key_identifier, std::string("keyid")},
        std::pair{NID_subject_alt_name, names}}) {
    TRY_STATUS(AddExtension(x509.get(), issuer, nid, value));
  }
  CHECK(X509_sign(x509.get(), key.state_->key.get(), EVP_sha256()) > 0);
  return Certificate(std::make_shared<State>(State{std::move(x509)}));
}

std::string Certificate::ToPem() const {
  return Written([&](BIO* bio) { return PEM_write_bio_X509(bio, state_->x509.get()); });
}

std::string Certificate::ToDer() const { return Encode<X509>(state_->x509.get(), i2d_X509); }

Result<Identity> Certificate::ReadIdentity() const {
  const auto uris = UriNames(state_->x509.get());
  if (uris.size() > 1) return Unauthenticated("a certificate with more than one identity");
  const auto identity = Identity::Parse(uris.empty() ? "" : uris[0]);
  if (!identity.ok()) return Unauthenticated("a certificate without an identity of a cluster");
  return identity;
}

std::string Certificate::CommonName() const {
  std::array<char, 4 * kMaxCommonNameBytes + 1> text{};
  const int size =
      X509_NAME_get_text_by_NID(X509_get_subject_name(state_->x509.get()), NID_commonName,
                                text.data(), static_cast<int>(text.size()));
  return size > 0 ? std::string(text.data(), static_cast<size_t>(size)) : "";
}

WallTime Certificate::NotBefore() const { return TimeOf(X509_get0_notBefore(state_->x509.get())); }
WallTime Certificate::NotAfter() const { return TimeOf(X509_get0_notAfter(state_->x509.get())); }
Digest Certificate::Fingerprint() const { return Digest::Of(ToDer()); }
Digest Certificate::PublicKeyHash() const { return HashOfPublic(state_->key()); }

Status Certificate::CheckIssuedBy(const Certificate& authority, WallTime now) const {
  X509* x509 = state_->x509.get();
  X509* issuer = authority.state_->x509.get();
  const uint32_t uses = X509_get_extended_key_usage(x509);
  const bool issued = X509_check_ca(issuer) == 1 && X509_check_ca(x509) == 0 &&
                      X509_check_issued(issuer, x509) == X509_V_OK &&
                      X509_verify(x509, authority.state_->key()) == 1;
  ERR_clear_error();
  if (!issued) return Unauthenticated("the certificate is not from this cluster's authority");
  if (uses == UINT32_MAX || (uses & XKU_SSL_SERVER) == 0 || (uses & XKU_SSL_CLIENT) == 0) {
    return Unauthenticated("the certificate is not for both sides of TLS");
  }
  for (const Certificate* each : {this, &authority}) {
    if (now < each->NotBefore()) {
      return Unauthenticated("the certificate is not valid yet (is a clock wrong?)");
    }
    if (now >= each->NotAfter()) return Unauthenticated("the certificate has expired");
  }
  return OkStatus();
}

Status Certificate::CheckSignature(std::string_view data, std::string_view signature) const {
  if (Verifies(state_->key(), data, signature)) return OkStatus();
  return Unauthenticated("the signature is not of this certificate's key");
}

}  // namespace hearth::net
