// Any bytes as a request's JSON body, a token, a join token, an identity: refused or read, bounded.
#include <cstdint>
#include <string_view>

#include "manager/json_body.h"
#include "manager/tokens.h"
#include "net/certificate.h"
#include "p2p/enroll_client.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  auto body = hearth::manager::JsonBody::Parse(text);
  if (body.ok()) {
    std::string name;
    std::vector<std::string> scopes;
    std::optional<uint64_t> uses;
    body->Text("name", name);
    body->Texts("scopes", scopes);
    body->Integer("uses", uses);
    const hearth::Status status = body->Finish();
    CHECK(status.message().size() < 1024);
  } else {
    CHECK(body.status().message().size() < 1024);
  }
  (void)hearth::manager::ParseScope(text);
  const auto token = hearth::p2p::JoinTokenText::Parse(text);
  if (token.ok()) CHECK(!token->secret.Reveal().empty());
  const auto identity = hearth::net::Identity::Parse(text);
  if (identity.ok()) CHECK(identity->ToUri() == text);
  (void)hearth::net::Certificate::FromPem(text);
  (void)hearth::net::Certificate::FromDer(text);
  (void)hearth::net::SigningRequest::FromPem(text);
  return 0;
}
