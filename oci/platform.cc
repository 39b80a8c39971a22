#include "oci/platform.h"

#include <sys/utsname.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <utility>

#include "base/ascii.h"

namespace hearth::oci {

namespace {

constexpr std::array<std::string_view, 16> kKnownSystems = {
    "aix",   "android", "darwin", "dragonfly", "freebsd", "illumos", "ios",    "js",
    "linux", "nacl",    "netbsd", "openbsd",   "plan9",   "solaris", "wasip1", "windows"};
constexpr std::array<std::string_view, 19> kKnownArchitectures = {
    "386",   "amd64",   "arm",   "arm64",   "arm64be",  "armbe",  "loong64",
    "mips",  "mips64",  "ppc64", "ppc64le", "mips64le", "mipsle", "ppc",
    "riscv", "riscv64", "s390x", "sparc64", "wasm"};

template <size_t N>
bool Contains(const std::array<std::string_view, N>& list, std::string_view word) {
  return std::find(list.begin(), list.end(), word) != list.end();
}

std::string NormalArmVariant(const std::string& variant) {
  if (variant.empty()) return "v7";
  if (variant == "5" || variant == "6" || variant == "7" || variant == "8") return "v" + variant;
  return variant;
}

bool IsWord(std::string_view part) {
  return !part.empty() && std::all_of(part.begin(), part.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '.' || c == '-';
  });
}

std::string HostArchitecture() {
  utsname name{};
  if (::uname(&name) != 0) return "amd64";
  const std::string_view machine = name.machine;
  // A 32-bit ARM kernel says "armv7l".
  return machine.starts_with("arm") ? "arm" : std::string(machine);
}

std::string HostVariant() {
  utsname name{};
  if (::uname(&name) != 0) return "";
  const std::string_view machine = name.machine;
  if (machine.starts_with("armv") && machine.size() > 4) return "v" + std::string(1, machine[4]);
  return "";
}

// 3 for "v3", 84 for "v8.4"; nullopt for anything else.
std::optional<int> VariantNumber(std::string_view variant) {
  if (!variant.starts_with('v')) return std::nullopt;
  variant.remove_prefix(1);
  int major = 0;
  const auto [end, error] = std::from_chars(variant.data(), variant.data() + variant.size(), major);
  if (error != std::errc{} || major < 1 || major > 99) return std::nullopt;
  if (end == variant.data() + variant.size()) return major * 10;
  std::string_view minor_text = variant.substr(static_cast<size_t>(end - variant.data()));
  if (minor_text.size() != 2 || minor_text[0] != '.' || minor_text[1] < '0' ||
      minor_text[1] > '9') {
    return std::nullopt;
  }
  return major * 10 + (minor_text[1] - '0');
}

std::string_view ImpliedVariant(const Platform& platform) {
  if (!platform.variant.empty()) return platform.variant;
  if (platform.architecture == "arm64") return "v8";
  if (platform.architecture == "amd64") return "v1";
  return "";
}

// Ranks of one architecture count down from the wanted variant.
std::optional<int> VariantRank(const Platform& wanted, const Platform& offered) {
  if (wanted.variant == offered.variant) return 0;
  const auto wanted_number = VariantNumber(ImpliedVariant(wanted));
  const auto offered_number = VariantNumber(ImpliedVariant(offered));
  if (!wanted_number || !offered_number || *offered_number > *wanted_number) return std::nullopt;
  return *wanted_number - *offered_number;
}

constexpr int kOtherArchitecture = 1000;

}  // namespace

Platform Platform::Normalized() const {
  Platform platform = *this;
  platform.os = AsciiLower(os);
  if (platform.os == "macos") platform.os = "darwin";
  std::string& architecture_name = platform.architecture;
  std::string& variant_name = platform.variant;
  architecture_name = AsciiLower(architecture);
  variant_name = AsciiLower(variant);
  if (architecture_name == "i386") {
    architecture_name = "386";
    variant_name.clear();
  } else if (architecture_name == "x86_64" || architecture_name == "x86-64" ||
             architecture_name == "amd64") {
    architecture_name = "amd64";
    if (variant_name == "v1") variant_name.clear();
  } else if (architecture_name == "aarch64" || architecture_name == "arm64") {
    architecture_name = "arm64";
    if (variant_name == "8" || variant_name == "v8") variant_name.clear();
  } else if (architecture_name == "armhf") {
    architecture_name = "arm";
    variant_name = "v7";
  } else if (architecture_name == "armel") {
    architecture_name = "arm";
    variant_name = "v6";
  } else if (architecture_name == "arm") {
    variant_name = NormalArmVariant(variant_name);
  }
  return platform;
}

Platform Platform::Host() {
  Platform platform;
  platform.os = "linux";
  platform.architecture = HostArchitecture();
  platform.variant = HostVariant();
  return platform.Normalized();
}

Result<Platform> Platform::Parse(std::string_view text) {
  std::vector<std::string> parts;
  size_t start = 0;
  while (true) {
    const size_t slash = text.find('/', start);
    parts.emplace_back(text.substr(start, slash - start));
    if (slash == std::string_view::npos) break;
    start = slash + 1;
  }
  const std::string quoted = "platform \"" + std::string(text.substr(0, 100)) + "\"";
  if (parts.size() > 3 || !std::all_of(parts.begin(), parts.end(), IsWord)) {
    return InvalidArgument(quoted + ": expected OS/ARCHITECTURE[/VARIANT], as linux/arm64");
  }
  const Platform host = Host();
  Platform platform;
  if (parts.size() > 1) {
    platform.os = parts[0];
    platform.architecture = parts[1];
    if (parts.size() == 3) platform.variant = parts[2];
    return platform.Normalized();
  }
  platform.os = parts[0];
  platform = platform.Normalized();
  if (Contains(kKnownSystems, platform.os)) {
    platform.architecture = host.architecture;
    platform.variant = host.variant;
    return platform;
  }
  platform.os = host.os;
  platform.architecture = parts[0];
  platform = platform.Normalized();
  if (Contains(kKnownArchitectures, platform.architecture)) return platform;
  return InvalidArgument(quoted +
                         ": neither an operating system nor an architecture that is known "
                         "(expected OS/ARCHITECTURE[/VARIANT], as linux/arm64)");
}

std::string Platform::ToString() const {
  std::string text = os + "/" + architecture;
  if (!variant.empty()) text += "/" + variant;
  return text;
}

std::optional<int> PlatformRank(const Platform& wanted_raw, const Platform& offered_raw) {
  const Platform wanted = wanted_raw.Normalized();
  const Platform offered = offered_raw.Normalized();
  if (wanted.os != offered.os) return std::nullopt;
  if (wanted.architecture == offered.architecture) return VariantRank(wanted, offered);
  if (wanted.architecture == "amd64" && offered.architecture == "386") return kOtherArchitecture;
  if (wanted.architecture == "arm64" && offered.architecture == "arm") {
    const Platform as_arm{wanted.os, "arm", "v8", ""};
    const auto rank = VariantRank(as_arm, offered);
    if (rank) return kOtherArchitecture + *rank;
  }
  return std::nullopt;
}

}  // namespace hearth::oci
