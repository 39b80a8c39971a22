// Digest: the name of immutable bytes, and Sha256, the running hash that makes one.
//
// Text form "sha256:<64 lower-case hex digits>" (OCI image spec, descriptor §digests). Hearth
// stores sha256 only; sha512 digests are well-formed but refused with kUnimplemented.
#pragma once

#include <array>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "base/status.h"

namespace hearth {

class Digest {
 public:
  static constexpr size_t kBytes = 32;

  // The all-zero digest; a place holder that no content has.
  Digest() = default;
  explicit Digest(const std::array<uint8_t, kBytes>& bytes) : bytes_(bytes) {}

  // kInvalidArgument for anything that is not "sha256:" + 64 lower-case hex digits (or another
  // registered algorithm's form, which is kUnimplemented).
  static Result<Digest> Parse(std::string_view text);
  // `hex` is 64 lower-case hex digits.
  static Result<Digest> FromHex(std::string_view hex);
  // The sha256 of `data`.
  static Digest Of(std::string_view data);

  std::string hex() const;       // 64 digits
  std::string ToString() const;  // "sha256:…"
  const std::array<uint8_t, kBytes>& bytes() const { return bytes_; }
  bool IsZero() const { return bytes_ == std::array<uint8_t, kBytes>{}; }

  friend auto operator<=>(const Digest&, const Digest&) = default;

 private:
  std::array<uint8_t, kBytes> bytes_{};
};

std::ostream& operator<<(std::ostream& out, const Digest& digest);

// A running sha256. One thread at a time; a copy is an independent hash of the same prefix.
class Sha256 {
 public:
  Sha256();
  ~Sha256();
  Sha256(const Sha256& other);
  Sha256& operator=(const Sha256& other);
  Sha256(Sha256&&) noexcept;
  Sha256& operator=(Sha256&&) noexcept;

  void Update(const void* data, size_t size_bytes);
  void Update(std::string_view data) { Update(data.data(), data.size()); }
  // Digest of all bytes so far; more may follow.
  Digest Current() const;
  void Reset();

 private:
  struct Context;
  std::unique_ptr<Context> context_;
};

// Lower-case hex of any bytes.
std::string ToHex(std::span<const uint8_t> bytes);

}  // namespace hearth

template <>
struct std::hash<hearth::Digest> {
  size_t operator()(const hearth::Digest& digest) const noexcept;
};
