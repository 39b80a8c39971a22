// Any bytes as the answer of a token server: what is read fits into a header and ends in time.
#include <cstdint>
#include <string_view>

#include "oci/token.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using hearth::oci::Token;
  const auto token = Token::Parse({reinterpret_cast<const char*>(data), size});
  if (!token.ok()) return 0;
  CHECK(!token->text.empty() && token->text.size() <= Token::kMaxBytes);
  for (const char c : token->text) CHECK(c > ' ' && c < '\x7f');
  CHECK(token->lifetime.count() >= 1 && token->lifetime <= Token::kMaxLifetime);
  return 0;
}
