#include "base/digest.h"

#include <openssl/evp.h>

#include <cstring>
#include <ostream>
#include <utility>

namespace hearth {

namespace {

constexpr std::string_view kSha256Prefix = "sha256:";

int HexValue(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  return -1;
}

// Fetched once: an implicit fetch for each context costs more than hashing a small manifest.
const EVP_MD* Sha256Algorithm() {
  static const EVP_MD* const algorithm = EVP_MD_fetch(nullptr, "SHA256", nullptr);
  CHECK(algorithm != nullptr);
  return algorithm;
}

}  // namespace

Result<Digest> Digest::Parse(std::string_view text) {
  if (text.starts_with(kSha256Prefix)) {
    auto digest = FromHex(text.substr(kSha256Prefix.size()));
    if (digest.ok()) return digest;
  }
  for (std::string_view other : {"sha512:", "sha384:", "blake3:"}) {
    if (text.starts_with(other)) {
      return Unimplemented("digest \"" + std::string(text) + "\": only sha256 is supported");
    }
  }
  return InvalidArgument("digest \"" + std::string(text) +
                         "\": not \"sha256:\" and 64 lower-case hex digits");
}

Result<Digest> Digest::FromHex(std::string_view hex) {
  if (hex.size() != 2 * kBytes) {
    return InvalidArgument("digest \"" + std::string(hex) + "\": not 64 hex digits");
  }
  std::array<uint8_t, kBytes> bytes{};
  for (size_t i = 0; i < kBytes; ++i) {
    const int high = HexValue(hex[2 * i]);
    const int low = HexValue(hex[2 * i + 1]);
    if (high < 0 || low < 0) {
      return InvalidArgument("digest \"" + std::string(hex) + "\": not lower-case hex");
    }
    bytes[i] = static_cast<uint8_t>(high << 4 | low);
  }
  return Digest(bytes);
}

Digest Digest::Of(std::string_view data) {
  Sha256 hash;
  hash.Update(data);
  return hash.Current();
}

std::string Digest::hex() const { return ToHex(bytes_); }

std::string Digest::ToString() const { return std::string(kSha256Prefix) + hex(); }

std::ostream& operator<<(std::ostream& out, const Digest& digest) {
  return out << digest.ToString();
}

struct Sha256::Context {
  EVP_MD_CTX* evp = EVP_MD_CTX_new();
  Context() { CHECK(evp != nullptr); }
  ~Context() { EVP_MD_CTX_free(evp); }
  Context(const Context&) = delete;
  Context& operator=(const Context&) = delete;
};

Sha256::Sha256() : context_(std::make_unique<Context>()) { Reset(); }
Sha256::~Sha256() = default;
Sha256::Sha256(const Sha256& other) : context_(std::make_unique<Context>()) {
  CHECK(EVP_MD_CTX_copy_ex(context_->evp, other.context_->evp) == 1);
}
Sha256& Sha256::operator=(const Sha256& other) {
  if (this != &other) CHECK(EVP_MD_CTX_copy_ex(context_->evp, other.context_->evp) == 1);
  return *this;
}
Sha256::Sha256(Sha256&&) noexcept = default;
Sha256& Sha256::operator=(Sha256&&) noexcept = default;

void Sha256::Reset() { CHECK(EVP_DigestInit_ex(context_->evp, Sha256Algorithm(), nullptr) == 1); }

void Sha256::Update(const void* data, size_t size_bytes) {
  CHECK(EVP_DigestUpdate(context_->evp, data, size_bytes) == 1);
}

Digest Sha256::Current() const {
  Sha256 copy(*this);
  std::array<uint8_t, Digest::kBytes> bytes{};
  unsigned int size = 0;
  CHECK(EVP_DigestFinal_ex(copy.context_->evp, bytes.data(), &size) == 1);
  CHECK(size == Digest::kBytes);
  return Digest(bytes);
}

std::string ToHex(std::span<const uint8_t> bytes) {
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string hex;
  hex.reserve(bytes.size() * 2);
  for (const uint8_t byte : bytes) {
    hex.push_back(kDigits[byte >> 4]);
    hex.push_back(kDigits[byte & 15]);
  }
  return hex;
}

}  // namespace hearth

size_t std::hash<hearth::Digest>::operator()(const hearth::Digest& digest) const noexcept {
  size_t value = 0;
  std::memcpy(&value, digest.bytes().data(), sizeof(value));
  return value;
}
