// HttpClient over TLS: whom it trusts, and what a cut connection means.
#include <gtest/gtest.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include <csignal>
#include <memory>
#include <string>

#include "net/http_client.h"
#include "net/raw_server_test.h"
#include "net/server_fixture_test.h"

namespace hearth::net {
namespace {

// A server on 127.0.0.1 with a certificate of its own, written to `certificate`.
class TlsServer {
 public:
  TlsServer(const std::filesystem::path& certificate, std::string answer)
      : answer_(std::move(answer)), raw_([this](int fd) { Serve(fd); }, RawServer::Raw{}) {
    std::signal(SIGPIPE, SIG_IGN);  // SSL_write() to a client that refused
    key_.reset(EVP_EC_gen("P-256"));
    certificate_.reset(X509_new());
    X509* x509 = certificate_.get();
    X509_set_version(x509, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(x509), 1);
    X509_gmtime_adj(X509_getm_notBefore(x509), -3600);
    X509_gmtime_adj(X509_getm_notAfter(x509), 3600);
    X509_set_pubkey(x509, key_.get());
    X509_NAME* name = X509_get_subject_name(x509);
    const auto* text = reinterpret_cast<const unsigned char*>("test");
    X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, text, -1, -1, 0);
    X509_set_issuer_name(x509, name);
    X509_EXTENSION* names =
        X509V3_EXT_conf_nid(nullptr, nullptr, NID_subject_alt_name, "IP:127.0.0.1");
    X509_add_ext(x509, names, -1);
    X509_EXTENSION_free(names);
    CHECK(X509_sign(x509, key_.get(), EVP_sha256()) > 0);
    std::FILE* file = std::fopen(certificate.c_str(), "w");
    CHECK(file != nullptr && PEM_write_X509(file, x509) == 1);
    std::fclose(file);
    context_.reset(SSL_CTX_new(TLS_server_method()));
    SSL_CTX_use_certificate(context_.get(), x509);
    SSL_CTX_use_PrivateKey(context_.get(), key_.get());
    ready_.Raise();
  }
  std::string Url() const { return "https://127.0.0.1:" + std::to_string(raw_.port()) + "/"; }

  unsigned long SubjectHash() const { return X509_subject_name_hash(certificate_.get()); }

 private:
  void Serve(int fd) {
    CHECK(ready_.Wait());
    const std::unique_ptr<SSL, decltype(&SSL_free)> ssl(SSL_new(context_.get()), SSL_free);
    SSL_set_fd(ssl.get(), fd);
    if (SSL_accept(ssl.get()) != 1) return;
    std::string request;
    char c = 0;
    while (!request.ends_with("\r\n\r\n") && SSL_read(ssl.get(), &c, 1) == 1) request += c;
    SSL_write(ssl.get(), answer_.data(), static_cast<int>(answer_.size()));
    // No close_notify: the connection is cut.
  }

  const std::string answer_;
  Event ready_;
  std::unique_ptr<EVP_PKEY, decltype(&EVP_PKEY_free)> key_{nullptr, EVP_PKEY_free};
  std::unique_ptr<X509, decltype(&X509_free)> certificate_{nullptr, X509_free};
  std::unique_ptr<SSL_CTX, decltype(&SSL_CTX_free)> context_{nullptr, SSL_CTX_free};
  RawServer raw_;
};

Status FetchStatus(const TlsServer& server, const std::string& ca_file) {
  HttpRequest request;
  request.url = server.Url();
  request.ca_file = ca_file;
  return HttpClient::Create({}).value()->Fetch(request, 1000).status();
}

TEST(HttpTlsTest, TrustsTheGivenCaAndNobodyElse) {
  const Scratch scratch;
  const TlsServer server(scratch / "ca.pem", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
  const Scratch other_scratch;
  const TlsServer other(other_scratch / "ca.pem", "");
  EXPECT_TRUE(FetchStatus(server, scratch / "ca.pem").ok());
  EXPECT_EQ(FetchStatus(server, "").code(), StatusCode::kUnavailable);
  EXPECT_EQ(FetchStatus(server, other_scratch / "ca.pem").code(), StatusCode::kUnavailable);
  const Status missing = FetchStatus(server, scratch / "missing.pem");
  EXPECT_EQ(missing.code(), StatusCode::kFailedPrecondition) << missing;
  EXPECT_NE(missing.message().find("missing.pem"), std::string::npos) << missing;
}

// As Go programs do, so that what makes containerd trust a registry makes Hearth trust it.
TEST(HttpTlsTest, TrustsWhatSslCertFileAndDirectoryName) {
  const Scratch scratch;
  const TlsServer server(scratch / "ca.pem", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
  ASSERT_EQ(::setenv("SSL_CERT_FILE", std::string(scratch / "ca.pem").c_str(), 1), 0);
  const Status by_file = FetchStatus(server, "");
  const Status by_own_file = FetchStatus(server, scratch / "missing.pem");
  ASSERT_EQ(::unsetenv("SSL_CERT_FILE"), 0);
  EXPECT_TRUE(by_file.ok()) << by_file;
  EXPECT_FALSE(by_own_file.ok());
  char hash[32];
  std::snprintf(hash, sizeof(hash), "%08lx.0", server.SubjectHash());
  std::filesystem::create_symlink("ca.pem", std::string(scratch / hash));
  ASSERT_EQ(::setenv("SSL_CERT_DIR", scratch.path().c_str(), 1), 0);
  const Status by_directory = FetchStatus(server, "");
  ASSERT_EQ(::unsetenv("SSL_CERT_DIR"), 0);
  EXPECT_TRUE(by_directory.ok()) << by_directory;
  EXPECT_FALSE(FetchStatus(server, "").ok());
}

TEST(HttpTlsTest, CutConnectionIsNotTheEndOfABody) {
  for (const char* head : {"Content-Length: 10\r\n", "Transfer-Encoding: chunked\r\n"}) {
    const Scratch scratch;
    const TlsServer server(scratch / "ca.pem",
                           "HTTP/1.1 200 OK\r\n" + std::string(head) + "\r\n2\r\nok\r\n");
    const Status status = FetchStatus(server, scratch / "ca.pem");
    EXPECT_EQ(status.code(), StatusCode::kUnavailable) << head << status;
  }
}

}  // namespace
}  // namespace hearth::net
