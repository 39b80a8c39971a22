#include "net/proxy.h"

#include <arpa/inet.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdint>
#include <cstdlib>
#include <optional>
#include <vector>

#include "base/ascii.h"

namespace hearth::net {

namespace {

// 4 or 16 bytes, network order.
std::optional<std::vector<uint8_t>> ParseAddress(std::string_view text) {
  if (text.size() > 2 && text.front() == '[' && text.back() == ']') {
    text = text.substr(1, text.size() - 2);
  }
  const std::string name(text);
  std::array<uint8_t, 16> bytes{};
  if (::inet_pton(AF_INET, name.c_str(), bytes.data()) == 1) {
    return std::vector<uint8_t>(bytes.begin(), bytes.begin() + 4);
  }
  if (::inet_pton(AF_INET6, name.c_str(), bytes.data()) == 1) {
    return std::vector<uint8_t>(bytes.begin(), bytes.end());
  }
  return std::nullopt;
}

bool IsLoopback(const std::string& host) {
  if (host == "localhost") return true;
  const auto address = ParseAddress(host);
  if (!address) return false;
  if (address->size() == 4) return address->front() == 127;
  return std::all_of(address->begin(), address->end() - 1, [](uint8_t b) { return b == 0; }) &&
         address->back() == 1;
}

bool InCidr(const std::vector<uint8_t>& address, std::string_view cidr) {
  const size_t slash = cidr.find('/');
  const auto network = ParseAddress(cidr.substr(0, slash));
  const std::string_view length = cidr.substr(slash + 1);
  size_t bits = 0;
  const auto [end, error] = std::from_chars(length.data(), length.data() + length.size(), bits);
  if (!network || network->size() != address.size() || error != std::errc() ||
      end != length.data() + length.size() || bits > 8 * address.size()) {
    return false;
  }
  for (size_t i = 0; i < bits; ++i) {
    const auto mask = static_cast<uint8_t>(0x80U >> (i % 8));
    if (((address[i / 8] ^ (*network)[i / 8]) & mask) != 0) return false;
  }
  return true;
}

// Does one entry of NO_PROXY name the host?
bool EntryMatches(std::string_view entry, const std::string& host, std::string_view port) {
  if (entry == "*") return true;
  const auto address = ParseAddress(host);
  if (entry.find('/') != std::string_view::npos) return address && InCidr(*address, entry);
  // "name:port", "[::1]:port"; a bare IPv6 address has more than one colon.
  const size_t colon = entry.rfind(':');
  const bool bracketed =
      entry.front() == '[' && colon != std::string_view::npos && entry[colon - 1] == ']';
  if (colon != std::string_view::npos && (bracketed || entry.find(':') == colon)) {
    if (entry.substr(colon + 1) != port) return false;
    entry = entry.substr(0, colon);
  }
  if (address) return ParseAddress(entry) == address;
  const std::string name = AsciiLower(entry);
  if (name.empty()) return false;
  if (name.starts_with("*.")) return host.ends_with(name.substr(1));
  if (name.front() == '.') return host.ends_with(name);
  return host == name || host.ends_with("." + name);
}

std::string Variable(const Environment& environment, const std::string& upper) {
  std::string value = environment(upper);
  return value.empty() ? environment(AsciiLower(upper)) : value;
}

}  // namespace

Environment ProcessEnvironment() {
  return [](const std::string& name) -> std::string {
    const char* value = std::getenv(name.c_str());
    return value == nullptr ? "" : value;
  };
}

std::string ProxyFor(std::string_view scheme, std::string_view host, std::string_view port,
                     const Environment& environment) {
  std::string proxy = Variable(environment, scheme == "https" ? "HTTPS_PROXY" : "HTTP_PROXY");
  if (proxy.empty()) return "";
  std::string name = AsciiLower(host);
  if (name.ends_with('.')) name.pop_back();
  if (IsLoopback(name)) return "";
  const std::string exempt = Variable(environment, "NO_PROXY");
  std::string_view rest = exempt;
  while (!rest.empty()) {
    const std::string_view entry = rest.substr(0, rest.find(','));
    rest.remove_prefix(std::min(entry.size() + 1, rest.size()));
    if (!TrimBlanks(entry).empty() && EntryMatches(TrimBlanks(entry), name, port)) return "";
  }
  return proxy;
}

}  // namespace hearth::net
