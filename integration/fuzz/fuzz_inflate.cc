// Any bytes as a compressed stream: they decompress or are refused, whatever the read sizes are,
// and where both ways succeed they agree.
#include <cstdint>
#include <cstring>
#include <string>

#include "base/digest.h"
#include "plugin/inflate.h"

namespace {

using hearth::Result;

constexpr uint64_t kWindowLimitBytes = 8u << 20;
constexpr uint64_t kOutputLimitBytes = 64u << 20;  // a bomb is cut off, not waited for

class BytesSource final : public hearth::plugin::ByteSource {
 public:
  BytesSource(std::span<const char> bytes, size_t step_bytes)
      : bytes_(bytes), step_bytes_(step_bytes) {}
  Result<size_t> Read(std::span<char> out) override {
    const size_t size = std::min({out.size(), bytes_.size(), step_bytes_});
    std::memcpy(out.data(), bytes_.data(), size);
    bytes_ = bytes_.subspan(size);
    return size;
  }

 private:
  std::span<const char> bytes_;
  const size_t step_bytes_;
};

struct Outcome {
  bool ok = true;
  hearth::Digest digest;
  uint64_t bytes = 0;
};

Outcome Inflate(std::span<const char> bytes, size_t step_bytes, size_t out_bytes) {
  BytesSource source(bytes, step_bytes);
  const auto inflater =
      hearth::plugin::MakeInflater(source, hearth::plugin::Compression::kDetect, kWindowLimitBytes);
  std::string buffer(out_bytes, '\0');
  hearth::Sha256 sha256;
  Outcome outcome;
  while (outcome.bytes < kOutputLimitBytes) {
    const auto got = inflater->Read(buffer);
    outcome.ok = got.ok();
    if (!got.ok() || *got == 0) break;
    CHECK(*got <= buffer.size());
    sha256.Update(buffer.data(), *got);
    outcome.bytes += *got;
  }
  outcome.digest = sha256.Current();
  return outcome;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::span bytes(reinterpret_cast<const char*>(data), size);
  const Outcome whole = Inflate(bytes, 1 << 20, 64 * 1024);
  const Outcome steps = Inflate(bytes, 7, 1024);
  // libzstd compares a frame's stated size with its content only where it decodes in one go.
  const bool is_gzip = size >= 2 && data[0] == 0x1f && data[1] == 0x8b;
  if (is_gzip) CHECK(whole.ok == steps.ok);
  if (whole.ok && steps.ok && whole.bytes < kOutputLimitBytes) CHECK(whole.digest == steps.digest);
  return 0;
}
