// Any bytes as a plain tar: the unpack ends, with files below its root or an error, and touches
// nothing outside. Once as they are, once with the checksums of what looks like a header made
// right, which no mutation finds.
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <string>

#include "plugin/unpacker.h"

namespace {

using hearth::Result;

class BytesSource final : public hearth::plugin::ByteSource {
 public:
  explicit BytesSource(std::span<const char> bytes) : bytes_(bytes) {}
  Result<size_t> Read(std::span<char> out) override {
    const size_t size = std::min(out.size(), bytes_.size());
    std::memcpy(out.data(), bytes_.data(), size);
    bytes_ = bytes_.subspan(size);
    return size;
  }

 private:
  std::span<const char> bytes_;
};

// Made once: a directory with a canary and room for one layer root.
const std::filesystem::path& Scratch() {
  static const std::filesystem::path path = [] {
    std::string pattern = std::filesystem::temp_directory_path() / "hearth-fuzz-tar-XXXXXX";
    CHECK(::mkdtemp(pattern.data()) != nullptr);
    std::ofstream(pattern + "/canary") << "alive";
    std::atexit([] {
      std::error_code ignored;
      std::filesystem::remove_all(Scratch(), ignored);
    });
    return std::filesystem::path(pattern);
  }();
  return path;
}

void CheckCanary() {
  std::string text;
  std::ifstream(Scratch() / "canary") >> text;
  CHECK(text == "alive");
  size_t entries = 0;
  for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator(Scratch())) {
    ++entries;
  }
  CHECK(entries == 2);
}

constexpr size_t kBlockBytes = 512;
constexpr size_t kChecksumOffset = 148;
constexpr size_t kChecksumBytes = 8;
constexpr size_t kMagicOffset = 257;

std::string WithRightChecksums(std::string tar) {
  for (size_t at = 0; at + kBlockBytes <= tar.size(); at += kBlockBytes) {
    if (tar.compare(at + kMagicOffset, 5, "ustar") != 0) continue;
    tar.replace(at + kChecksumOffset, kChecksumBytes, kChecksumBytes, ' ');
    unsigned sum = 0;
    for (size_t i = 0; i < kBlockBytes; ++i) sum += static_cast<unsigned char>(tar[at + i]);
    char octal[kChecksumBytes];
    std::snprintf(octal, sizeof(octal), "%06o", sum);
    tar.replace(at + kChecksumOffset, 7, octal, 7);
  }
  return tar;
}

void UnpackOnce(const std::string& tar) {
  hearth::plugin::UnpackOptions options;
  options.root = Scratch() / "fs";
  options.compression = hearth::plugin::Compression::kNone;
  // Both ways to treat whiteouts, told apart by something that the mutations reach.
  options.bottom = tar.size() % 2 == 1;
  std::filesystem::create_directory(options.root);
  BytesSource source(tar);
  const auto unpacked = hearth::plugin::Unpack(source, options, {});
  if (unpacked.ok()) CHECK(unpacked->tar_bytes == tar.size());
  CheckCanary();
  std::filesystem::remove_all(options.root);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string tar(reinterpret_cast<const char*>(data), size);
  UnpackOnce(tar);
  if (std::string mended = WithRightChecksums(tar); mended != tar) UnpackOnce(mended);
  return 0;
}
