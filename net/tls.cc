#include "net/tls.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>

#include <ctime>

#include "net/uri_names.h"

namespace hearth::net {

namespace {

template <typename T, auto Free>
struct Freer {
  void operator()(T* what) const { Free(what); }
};
using Bio = std::unique_ptr<BIO, Freer<BIO, BIO_free_all>>;
using Certificate = std::unique_ptr<X509, Freer<X509, X509_free>>;
using Key = std::unique_ptr<EVP_PKEY, Freer<EVP_PKEY, EVP_PKEY_free>>;

Status OpenSslError(const std::string& what) {
  char text[256] = "no reason given";
  if (const unsigned long code = ERR_get_error(); code != 0) {
    ERR_error_string_n(code, text, sizeof(text));
  }
  ERR_clear_error();
  return FailedPrecondition(what + ": " + text);
}

Bio BioOf(const std::string& pem) {
  return Bio(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())));
}

Certificate NextCertificate(const Bio& bio) {
  Certificate certificate(PEM_read_bio_X509(bio.get(), nullptr, nullptr, nullptr));
  if (!certificate) ERR_clear_error();  // the end
  return certificate;
}

Status UseCertificate(SSL_CTX* context, const TlsIdentity& identity) {
  const Bio chain = BioOf(identity.certificate_pem);
  const Certificate own = NextCertificate(chain);
  if (!own || SSL_CTX_use_certificate(context, own.get()) != 1) {
    return OpenSslError("the TLS certificate cannot be used");
  }
  while (const Certificate next = NextCertificate(chain)) {
    if (SSL_CTX_add1_chain_cert(context, next.get()) != 1) {
      return OpenSslError("the TLS certificate's chain cannot be used");
    }
  }
  const Bio key_bio = BioOf(identity.key_pem);
  const Key key(PEM_read_bio_PrivateKey(key_bio.get(), nullptr, nullptr, nullptr));
  if (!key || SSL_CTX_use_PrivateKey(context, key.get()) != 1 ||
      SSL_CTX_check_private_key(context) != 1) {
    return OpenSslError("the TLS key cannot be used with its certificate");
  }
  return OkStatus();
}

Status RequireClients(SSL_CTX* context, const std::string& ca_pem) {
  const Bio bio = BioOf(ca_pem);
  size_t count = 0;
  while (const Certificate ca = NextCertificate(bio)) {
    ++count;
    if (X509_STORE_add_cert(SSL_CTX_get_cert_store(context), ca.get()) != 1 ||
        SSL_CTX_add_client_CA(context, ca.get()) != 1) {
      return OpenSslError("the CA for TLS clients cannot be used");
    }
  }
  if (count == 0) return FailedPrecondition("the CA for TLS clients holds no certificate");
  SSL_CTX_set_verify(context, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, nullptr);
  return OkStatus();
}

int VerifyPeer(X509_STORE_CTX* store, void* uri) {
  if (X509_verify_cert(store) != 1) return 0;
  const auto names = UriNames(X509_STORE_CTX_get0_cert(store));
  const bool known = names.size() == 1 && names[0] == *static_cast<const std::string*>(uri);
  if (!known) X509_STORE_CTX_set_error(store, X509_V_ERR_HOSTNAME_MISMATCH);
  return known ? 1 : 0;
}

}  // namespace

TlsPeer PeerOf(X509* certificate) {
  TlsPeer peer;
  peer.uris = UriNames(certificate);
  unsigned char* der = nullptr;
  const int size = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(certificate), &der);
  if (size > 0) {
    peer.key = Digest::Of({reinterpret_cast<const char*>(der), static_cast<size_t>(size)});
  }
  OPENSSL_free(der);
  std::tm end{};
  if (ASN1_TIME_to_tm(X509_get0_notAfter(certificate), &end) == 1) {
    peer.expires = WallTime(std::chrono::seconds(::timegm(&end)));
  }
  return peer;
}

Result<std::shared_ptr<ssl_ctx_st>> MakeServerContext(const TlsIdentity& identity) {
  std::shared_ptr<SSL_CTX> context(SSL_CTX_new(TLS_server_method()), SSL_CTX_free);
  CHECK(context != nullptr);
  SSL_CTX_set_min_proto_version(context.get(), TLS1_3_VERSION);
  SSL_CTX_set_num_tickets(context.get(), 0);
  SSL_CTX_set_session_cache_mode(context.get(), SSL_SESS_CACHE_OFF);
  SSL_CTX_set_mode(context.get(), SSL_MODE_RELEASE_BUFFERS);
  TRY_STATUS(UseCertificate(context.get(), identity));
  if (!identity.ca_pem.empty()) TRY_STATUS(RequireClients(context.get(), identity.ca_pem));
  return context;
}

void ExpectPeer(SSL_CTX* context, const std::string* uri) {
  SSL_CTX_set_cert_verify_callback(context, VerifyPeer, const_cast<std::string*>(uri));
}

}  // namespace hearth::net
