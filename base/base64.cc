#include "base/base64.h"

#include <openssl/evp.h>

namespace hearth {

std::string EncodeBase64(std::string_view bytes) {
  std::string out((bytes.size() + 2) / 3 * 4 + 1, '\0');
  const int size = ::EVP_EncodeBlock(reinterpret_cast<unsigned char*>(out.data()),
                                     reinterpret_cast<const unsigned char*>(bytes.data()),
                                     static_cast<int>(bytes.size()));
  out.resize(static_cast<size_t>(size));
  return out;
}

Result<std::string> DecodeBase64(std::string_view text) {
  std::string digits(text);
  std::erase_if(digits, [](char c) { return c == '\n' || c == '\r' || c == ' '; });
  for (int i = 0; i < 2 && digits.ends_with('='); ++i) digits.pop_back();
  const size_t padding = (4 - digits.size() % 4) % 4;
  // OpenSSL takes "=" anywhere.
  if (padding == 3 || digits.find('=') != std::string::npos) {
    return InvalidArgument("is not base64");
  }
  digits.append(padding, '=');
  std::string out(digits.size() / 4 * 3, '\0');
  const int size = ::EVP_DecodeBlock(reinterpret_cast<unsigned char*>(out.data()),
                                     reinterpret_cast<const unsigned char*>(digits.data()),
                                     static_cast<int>(digits.size()));
  if (size < 0) return InvalidArgument("is not base64");
  out.resize(static_cast<size_t>(size) - padding);
  return out;
}

}  // namespace hearth
