#include "plugin/tar_header.h"

#include <algorithm>
#include <charconv>
#include <cstring>

namespace hearth::plugin {
namespace {

struct Field {
  size_t offset;
  size_t width;
};

constexpr Field kName{0, 100};
constexpr Field kMode{100, 8};
constexpr Field kUid{108, 8};
constexpr Field kGid{116, 8};
constexpr Field kSize{124, 12};
constexpr Field kMtime{136, 12};
constexpr Field kChecksum{148, 8};
constexpr size_t kTypeOffset = 156;
constexpr Field kLink{157, 100};
constexpr Field kMagic{257, 6};
constexpr Field kVersion{263, 2};
constexpr Field kMajor{329, 8};
constexpr Field kMinor{337, 8};
constexpr Field kPrefix{345, 155};
constexpr Field kStarPrefix{345, 131};
constexpr Field kStarAtime{476, 12};
constexpr Field kStarCtime{488, 12};
constexpr Field kStarTrailer{508, 4};
constexpr Field kGnuAtime{345, 12};
constexpr Field kGnuCtime{357, 12};

enum class Format : uint8_t { kV7, kUstar, kStar, kGnu };

class Block {
 public:
  explicit Block(std::span<const char, kTarBlockBytes> bytes)
      : bytes_(bytes.data(), bytes.size()) {}

  std::string_view Raw(Field field) const { return bytes_.substr(field.offset, field.width); }
  std::string Text(Field field) const { return std::string(UntilNul(Raw(field))); }
  char type() const { return bytes_[kTypeOffset]; }

  // 0 where the field is no number, which fails the whole header in the end.
  int64_t Number(Field field) {
    const auto number = ParseTarNumber(Raw(field));
    if (!number) bad_number_ = true;
    return number.value_or(0);
  }
  bool bad_number() const { return bad_number_; }

  // Some old tars summed signed bytes.
  bool ChecksumIsRight() const {
    // The field counts as spaces. No question in the loop, which the compiler then vectorises.
    int32_t sum = kChecksum.width * ' ';
    int32_t signed_sum = sum;
    for (size_t i = 0; i < kTarBlockBytes; ++i) {
      sum += static_cast<unsigned char>(bytes_[i]);
      signed_sum += static_cast<signed char>(bytes_[i]);
    }
    for (const char byte : Raw(kChecksum)) {
      sum -= static_cast<unsigned char>(byte);
      signed_sum -= static_cast<signed char>(byte);
    }
    // Octal only: a sum of the negative kind has no other form.
    const std::string_view field = Raw(kChecksum);
    if ((static_cast<unsigned char>(field[0]) & 0x80) != 0) return false;
    const auto said = ParseTarNumber(field);
    return said && (*said == sum || *said == signed_sum);
  }

  Format format() const {
    if (Raw(kMagic) == std::string_view("ustar\0", 6)) {
      return Raw(kStarTrailer) == std::string_view("tar\0", 4) ? Format::kStar : Format::kUstar;
    }
    const bool gnu = Raw(kMagic) == "ustar " && Raw(kVersion) == std::string_view(" \0", 2);
    return gnu ? Format::kGnu : Format::kV7;
  }

 private:
  const std::string_view bytes_;
  bool bad_number_ = false;
};

bool IsAscii(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return c > 0; });
}

// Times lie there, but Go before 1.8 wrote a prefix: when they are no times, it is one.
std::string ReadGnuExtra(const Block& block, TarHeader& header) {
  bool times = true;
  for (const Field field : {kGnuAtime, kGnuCtime}) {
    const std::string_view raw = block.Raw(field);
    if (raw[0] == '\0') continue;
    const auto seconds = ParseTarNumber(raw);
    times = times && seconds;
    if (seconds && field.offset == kGnuAtime.offset) header.atime = timespec{*seconds, 0};
  }
  if (times) return "";
  header.atime.reset();
  std::string prefix = block.Text(kPrefix);
  return IsAscii(prefix) ? prefix : "";
}

}  // namespace

std::string_view UntilNul(std::string_view text) { return text.substr(0, text.find('\0')); }

std::optional<int64_t> ParseDecimal(std::string_view text) {
  // from_chars knows "-", not "+".
  if (text.starts_with('+')) {
    text.remove_prefix(1);
    if (text.starts_with('-')) return std::nullopt;
  }
  int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

std::optional<int64_t> ParseTarNumber(std::string_view field) {
  const auto first = static_cast<unsigned char>(field[0]);
  if ((first & 0x80) != 0) {
    // Two's complement, big-endian; the top bit is only the mark.
    const unsigned char invert = (first & 0x40) != 0 ? 0xff : 0;
    uint64_t value = 0;
    for (size_t i = 0; i < field.size(); ++i) {
      unsigned char byte = static_cast<unsigned char>(field[i]) ^ invert;
      if (i == 0) byte &= 0x7f;
      if ((value >> 56) != 0) return std::nullopt;
      value = value << 8 | byte;
    }
    if ((value >> 63) != 0) return std::nullopt;
    return invert != 0 ? ~static_cast<int64_t>(value) : static_cast<int64_t>(value);
  }
  constexpr std::string_view kPadding(" \0", 2);
  const size_t begin = field.find_first_not_of(kPadding);
  if (begin == field.npos) return 0;
  const std::string_view digits =
      UntilNul(field.substr(begin, field.find_last_not_of(kPadding) + 1 - begin));
  uint64_t value = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value, 8);
  if (error != std::errc() || end != digits.data() + digits.size()) return std::nullopt;
  return static_cast<int64_t>(value);
}

bool TarTypeHasBody(char type) { return type < '1' || type > '6'; }

Result<TarHeader> ParseTarHeader(std::span<const char, kTarBlockBytes> bytes) {
  Block block(bytes);
  if (!block.ChecksumIsRight()) return DataLoss("a header's checksum is wrong");
  TarHeader header;
  header.type = block.type();
  header.name = block.Text(kName);
  header.link = block.Text(kLink);
  header.mode = block.Number(kMode);
  header.uid = block.Number(kUid);
  header.gid = block.Number(kGid);
  header.size_bytes = block.Number(kSize);
  header.mtime.tv_sec = block.Number(kMtime);
  const Format format = block.format();
  std::string prefix;
  if (format != Format::kV7) {
    header.device_major = block.Number(kMajor);
    header.device_minor = block.Number(kMinor);
  }
  if (format == Format::kUstar) prefix = block.Text(kPrefix);
  if (format == Format::kStar) {
    prefix = block.Text(kStarPrefix);
    header.atime = timespec{block.Number(kStarAtime), 0};
    (void)block.Number(kStarCtime);
  }
  if (format == Format::kGnu) prefix = ReadGnuExtra(block, header);
  if (!prefix.empty()) header.name = prefix + "/" + header.name;
  if (block.bad_number()) return DataLoss(header.name + ": a field of its header is no number");
  return header;
}

}  // namespace hearth::plugin
