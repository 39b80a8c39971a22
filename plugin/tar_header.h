// TarHeader: what one 512-byte header block of a tar says, by the rules of Go's archive/tar.
//
// Those rules decide what an image is, since containerd reads layers by them; where other tools
// read more or less into the same bytes (docs/decisions/0008), they are wrong here. Pure; any
// thread.
#pragma once

#include <time.h>

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "base/status.h"

namespace hearth::plugin {

inline constexpr size_t kTarBlockBytes = 512;

// Type flags that the format itself uses.
inline constexpr char kTarOldFile = '\0';
inline constexpr char kTarPax = 'x';
inline constexpr char kTarPaxGlobal = 'g';
inline constexpr char kTarGnuName = 'L';
inline constexpr char kTarGnuLink = 'K';

struct TarHeader {
  char type = '0';
  std::string name;
  std::string link;
  int64_t mode = 0;
  int64_t uid = 0;
  int64_t gid = 0;
  int64_t size_bytes = 0;
  int64_t device_major = 0;
  int64_t device_minor = 0;
  timespec mtime{};
  std::optional<timespec> atime;
};

// kDataLoss: a wrong checksum or a field that is no number.
Result<TarHeader> ParseTarHeader(std::span<const char, kTarBlockBytes> block);

// Links, devices, directories and fifos have no body, whatever size their headers claim.
bool TarTypeHasBody(char type);

// What precedes the first NUL.
std::string_view UntilNul(std::string_view text);
// Decimal with an optional sign, and nothing else; nullopt when it is none or needs over 64 bits.
std::optional<int64_t> ParseDecimal(std::string_view text);
// Octal digits between spaces and NULs, or base-256; nullopt as above.
std::optional<int64_t> ParseTarNumber(std::string_view field);

}  // namespace hearth::plugin
