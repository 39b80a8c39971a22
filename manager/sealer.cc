#include "manager/sealer.h"

#include <openssl/evp.h>
#include <openssl/rand.h>

#include <array>
#include <memory>
#include <optional>
#include <utility>

#include "base/ascii.h"
#include "base/digest.h"
#include "base/file.h"

namespace hearth::manager {

namespace {

// A sealed text is FORMAT, the key's name, nonce, ciphertext, tag; all of it in hex.
constexpr char kFormat = 1;
constexpr size_t kKeyNameBytes = 4;
constexpr size_t kNonceBytes = 12;
constexpr size_t kTagBytes = 16;
constexpr size_t kHeadBytes = 1 + kKeyNameBytes + kNonceBytes;
constexpr uint64_t kMaxFileBytes = 4096;

using Context = std::unique_ptr<EVP_CIPHER_CTX, decltype(&::EVP_CIPHER_CTX_free)>;

const unsigned char* Bytes(std::string_view text) {
  return reinterpret_cast<const unsigned char*>(text.data());
}
unsigned char* Bytes(std::string& text) { return reinterpret_cast<unsigned char*>(text.data()); }

std::string Random(size_t size) {
  std::string bytes(size, '\0');
  CHECK(RAND_bytes(Bytes(bytes), static_cast<int>(size)) == 1);
  return bytes;
}

std::string HexOf(std::string_view bytes) { return ToHex({Bytes(bytes), bytes.size()}); }

std::optional<std::string> FromHexText(std::string_view hex) {
  if (hex.size() % 2 != 0) return std::nullopt;
  const auto digit = [](char c) -> int {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
  };
  std::string bytes;
  for (size_t i = 0; i < hex.size(); i += 2) {
    const int high = digit(hex[i]);
    const int low = digit(hex[i + 1]);
    if (high < 0 || low < 0) return std::nullopt;
    bytes.push_back(static_cast<char>(high * 16 + low));
  }
  return bytes;
}

// Says which key it was without saying the key.
std::string NameOf(const std::string& key) {
  const auto sum = Digest::Of("hearth sealing key" + key).bytes();
  return {reinterpret_cast<const char*>(sum.data()), kKeyNameBytes};
}

}  // namespace

Result<std::unique_ptr<Sealer>> Sealer::Open(const std::filesystem::path& key_file, bool make) {
  std::error_code error;
  if (make && !std::filesystem::exists(key_file, error)) {
    TRY_STATUS(WriteFileAtomically(key_file, HexOf(Random(kKeyBytes)) + "\n", 0600));
  }
  const std::string text = TRY(ReadFile(key_file, kMaxFileBytes).Annotate("the key file"));
  std::vector<std::string> keys;
  size_t number = 0;
  for (size_t start = 0; start < text.size();) {
    const size_t end = std::min(text.find('\n', start), text.size());
    const std::string_view line = TrimBlanks(std::string_view(text).substr(start, end - start));
    start = end + 1;
    ++number;
    if (line.empty()) continue;
    auto key = FromHexText(line);
    if (!key || key->size() != kKeyBytes || keys.size() >= kMaxKeys) {
      return InvalidArgument("key file " + key_file.native() + ", line " + std::to_string(number) +
                             ": a key is 64 hex digits (`openssl rand -hex 32`), at most 16 keys");
    }
    keys.push_back(*std::move(key));
  }
  if (keys.empty()) {
    return InvalidArgument("key file " + key_file.native() +
                           ": no key is in it (one of 64 hex digits a line)");
  }
  return std::unique_ptr<Sealer>(new Sealer(std::move(keys)));
}

std::string Sealer::Seal(std::string_view plain, std::string_view purpose) const {
  const std::string& key = keys_.front();
  const std::string nonce = Random(kNonceBytes);
  const Context context(::EVP_CIPHER_CTX_new(), ::EVP_CIPHER_CTX_free);
  std::string cipher(plain.size(), '\0');
  std::string tag(kTagBytes, '\0');
  int size = 0;
  CHECK(context != nullptr);
  CHECK(EVP_EncryptInit_ex(context.get(), EVP_aes_256_gcm(), nullptr, Bytes(key), Bytes(nonce)) ==
        1);
  CHECK(EVP_EncryptUpdate(context.get(), nullptr, &size, Bytes(purpose),
                          static_cast<int>(purpose.size())) == 1);
  CHECK(EVP_EncryptUpdate(context.get(), Bytes(cipher), &size, Bytes(plain),
                          static_cast<int>(plain.size())) == 1);
  CHECK(EVP_EncryptFinal_ex(context.get(), Bytes(tag), &size) == 1);
  CHECK(EVP_CIPHER_CTX_ctrl(context.get(), EVP_CTRL_GCM_GET_TAG, kTagBytes, Bytes(tag)) == 1);
  return HexOf(std::string(1, kFormat) + NameOf(key) + nonce + cipher + tag);
}

Result<std::optional<std::string>> Sealer::Renew(std::string_view sealed,
                                                 std::string_view purpose) const {
  const auto plain = TRY(Unseal(sealed, purpose));
  const std::string ours = HexOf(std::string(1, kFormat) + NameOf(keys_.front()));
  if (sealed.starts_with(ours)) return std::optional<std::string>();
  return std::optional(Seal(plain.Reveal(), purpose));
}

Result<Secret<std::string>> Sealer::Unseal(std::string_view sealed,
                                           std::string_view purpose) const {
  const auto damaged = [&] {
    return DataLoss("what is sealed for " + std::string(purpose) + " is damaged");
  };
  const auto bytes = FromHexText(sealed);
  if (!bytes || bytes->size() < kHeadBytes + kTagBytes || bytes->front() != kFormat) {
    return damaged();
  }
  const std::string_view whole = *bytes;
  const std::string* key = nullptr;
  for (const std::string& candidate : keys_) {
    if (NameOf(candidate) == whole.substr(1, kKeyNameBytes)) key = &candidate;
  }
  if (key == nullptr) {
    return FailedPrecondition("what is sealed for " + std::string(purpose) +
                              " was sealed with a key that the key file does not have (add it)");
  }
  const std::string_view nonce = whole.substr(1 + kKeyNameBytes, kNonceBytes);
  const std::string_view cipher = whole.substr(kHeadBytes, whole.size() - kHeadBytes - kTagBytes);
  std::string tag(whole.substr(whole.size() - kTagBytes));
  std::string plain(cipher.size(), '\0');
  const Context context(::EVP_CIPHER_CTX_new(), ::EVP_CIPHER_CTX_free);
  int size = 0;
  CHECK(context != nullptr);
  CHECK(EVP_DecryptInit_ex(context.get(), EVP_aes_256_gcm(), nullptr, Bytes(*key), Bytes(nonce)) ==
        1);
  CHECK(EVP_DecryptUpdate(context.get(), nullptr, &size, Bytes(purpose),
                          static_cast<int>(purpose.size())) == 1);
  CHECK(EVP_DecryptUpdate(context.get(), Bytes(plain), &size, Bytes(cipher),
                          static_cast<int>(cipher.size())) == 1);
  CHECK(EVP_CIPHER_CTX_ctrl(context.get(), EVP_CTRL_GCM_SET_TAG, kTagBytes, Bytes(tag)) == 1);
  if (EVP_DecryptFinal_ex(context.get(), Bytes(tag), &size) != 1) return damaged();
  return Secret(std::move(plain));
}

}  // namespace hearth::manager
