#include "net/egress.h"

#include <arpa/inet.h>

#include <algorithm>
#include <charconv>
#include <cstring>
#include <optional>
#include <utility>

#include "base/ascii.h"

namespace hearth::net {

namespace {

struct Range {
  const char* prefix;  // IPv4 as ::ffff:a.b.c.d
  unsigned bits;
  const char* kind;
};

constexpr Range kRefused[] = {
    {"::ffff:127.0.0.0", 104, "a loopback"},
    {"::ffff:0.0.0.0", 104, "a loopback"},  // Linux connects 0.0.0.0 to itself
    {"::ffff:169.254.0.0", 112, "a link-local"},
    {"::ffff:100.100.100.200", 128, "a metadata"},  // Alibaba
    {"::ffff:168.63.129.16", 128, "a metadata"},    // Azure
    {"::ffff:192.0.0.192", 128, "a metadata"},      // Oracle
    {"::1", 128, "a loopback"},
    {"::", 128, "a loopback"},
    {"fe80::", 10, "a link-local"},
    {"fd00:ec2::254", 128, "a metadata"},       // EC2
    {"fd20:ce::254", 128, "a metadata"},        // Google
    {"fd00:c1::a9fe:a9fe", 128, "a metadata"},  // Oracle
};

// Where an IPv4 address stands inside an IPv6 one.
struct Embedding {
  const char* prefix;
  unsigned bits;
  size_t at[4];
};

constexpr Embedding kEmbeddings[] = {
    {"::", 96, {12, 13, 14, 15}},            // IPv4-compatible
    {"::ffff:0:0:0", 96, {12, 13, 14, 15}},  // SIIT
    {"64:ff9b::", 96, {12, 13, 14, 15}},     // NAT64
    {"64:ff9b:1::", 48, {12, 13, 14, 15}},   // NAT64 of a site: as long as its own prefix is,
    {"64:ff9b:1::", 48, {6, 7, 9, 10}},      // the address stands here,
    {"64:ff9b:1::", 48, {7, 9, 10, 11}},     // here
    {"64:ff9b:1::", 48, {9, 10, 11, 12}},    // or here
    {"2002::", 16, {2, 3, 4, 5}},            // 6to4
};

constexpr const char* kRefusedNames[] = {
    "localhost", "localhost.localdomain",    "ip6-localhost", "ip6-loopback",
    "metadata",  "metadata.google.internal", "instance-data"};

in6_addr Parse6(const char* text) {
  in6_addr address{};
  CHECK(::inet_pton(AF_INET6, text, &address) == 1);
  return address;
}

in6_addr Mapped(const in_addr& v4) {
  in6_addr mapped = Parse6("::ffff:0.0.0.0");
  std::memcpy(mapped.s6_addr + 12, &v4, 4);
  return mapped;
}

bool HasPrefix(const in6_addr& address, const in6_addr& prefix, unsigned bits) {
  if (std::memcmp(address.s6_addr, prefix.s6_addr, bits / 8) != 0) return false;
  if (bits % 8 == 0) return true;
  const auto mask = static_cast<uint8_t>(0xff00U >> (bits % 8));
  return ((address.s6_addr[bits / 8] ^ prefix.s6_addr[bits / 8]) & mask) == 0;
}

// The address itself, and those that it may lead to.
std::vector<in6_addr> Meanings(const in6_addr& address) {
  std::vector<in6_addr> meanings{address};
  for (const Embedding& embedding : kEmbeddings) {
    if (!HasPrefix(address, Parse6(embedding.prefix), embedding.bits)) continue;
    in6_addr inner = Parse6("::ffff:0.0.0.0");
    for (size_t i = 0; i < 4; ++i) inner.s6_addr[12 + i] = address.s6_addr[embedding.at[i]];
    meanings.push_back(inner);
  }
  return meanings;
}

std::string ToText(const in6_addr& address) {
  char text[INET6_ADDRSTRLEN] = {};
  ::inet_ntop(AF_INET6, &address, text, sizeof(text));
  const std::string_view mapped = "::ffff:";
  const std::string whole = text;
  const bool v4 = whole.starts_with(mapped) && whole.find('.') != std::string::npos;
  return v4 ? whole.substr(mapped.size()) : whole;
}

// Without brackets, zone and the root's dot, in lower case.
std::string BareHost(const std::string& host) {
  std::string bare = AsciiLower(host);
  if (bare.size() > 2 && bare.front() == '[' && bare.back() == ']') {
    bare = bare.substr(1, bare.size() - 2);
  }
  if (bare.find(':') != std::string::npos) bare = bare.substr(0, bare.find('%'));
  while (bare.size() > 1 && bare.back() == '.') bare.pop_back();
  return bare;
}

// Also "127.1", "0x7f000001" and "2130706433", which a resolver takes for addresses.
std::optional<in6_addr> ParseHost(const std::string& bare) {
  in_addr v4{};
  in6_addr v6{};
  if (::inet_pton(AF_INET6, bare.c_str(), &v6) == 1) return v6;
  if (::inet_aton(bare.c_str(), &v4) != 0) return Mapped(v4);
  return std::nullopt;
}

uint16_t PortOf(const sockaddr& address) {
  // The same place in sockaddr_in and sockaddr_in6; callers fill it for AF_UNSPEC too.
  return ntohs(reinterpret_cast<const sockaddr_in&>(address).sin_port);
}

}  // namespace

Result<Egress> Egress::Create(Options options) {
  Egress egress;
  for (const std::string& text : options.allow) {
    const size_t slash = text.find('/');
    const std::string prefix = text.substr(0, slash);
    const bool v6 = prefix.find(':') != std::string::npos;
    Network network{};
    in_addr v4{};
    bool good = slash != std::string::npos;
    if (v6) {
      good = good && ::inet_pton(AF_INET6, prefix.c_str(), &network.prefix) == 1;
    } else {
      good = good && ::inet_pton(AF_INET, prefix.c_str(), &v4) == 1;
      network.prefix = Mapped(v4);
    }
    const char* end = text.data() + text.size();
    const auto number = std::from_chars(good ? text.data() + slash + 1 : end, end, network.bits);
    if (!good || number.ec != std::errc() || number.ptr != end || network.bits > (v6 ? 128 : 32)) {
      return InvalidArgument("egress_allow: \"" + text + "\" is no network (as in 10.0.0.0/8)");
    }
    if (!v6) network.bits += 96;
    egress.networks_.push_back(network);
  }
  egress.options_ = std::move(options);
  return egress;
}

Status Egress::Check(const std::string& host, const sockaddr& address) const {
  const uint16_t port = PortOf(address);
  const std::string bare = BareHost(host);
  switch (address.sa_family) {
    case AF_INET:
      return Judge(bare, port, Mapped(reinterpret_cast<const sockaddr_in&>(address).sin_addr));
    case AF_INET6:
      return Judge(bare, port, reinterpret_cast<const sockaddr_in6&>(address).sin6_addr);
    default:
      break;
  }
  if (const auto literal = ParseHost(bare)) return Judge(bare, port, *literal);
  const bool refused = bare.ends_with(".localhost") ||
                       std::find(std::begin(kRefusedNames), std::end(kRefusedNames), bare) !=
                           std::end(kRefusedNames);
  if (!refused) return OkStatus();
  return Refuse(bare, port, "the name " + bare + " stands for a loopback or metadata service", "");
}

Status Egress::Judge(const std::string& host, uint16_t port, const in6_addr& address) const {
  if (Allows(address)) return OkStatus();
  for (const in6_addr& meaning : Meanings(address)) {
    for (const Range& range : kRefused) {
      if (!HasPrefix(meaning, Parse6(range.prefix), range.bits)) continue;
      if (Allows(meaning)) continue;
      const std::string text = ToText(address);
      const bool v6 = text.find(':') != std::string::npos;
      return Refuse(host, port, text + " is " + range.kind + " address",
                    text + (v6 ? "/128" : "/32"));
    }
  }
  return OkStatus();
}

bool Egress::Allows(const in6_addr& address) const {
  return std::any_of(networks_.begin(), networks_.end(), [&address](const Network& network) {
    return HasPrefix(address, network.prefix, network.bits);
  });
}

Status Egress::Refuse(const std::string& host, uint16_t port, const std::string& what,
                      const std::string& network) const {
  if (options_.is_named && options_.is_named(host, port)) return OkStatus();
  const std::string name =
      (host.find(':') == std::string::npos ? host : "[" + host + "]") + ":" + std::to_string(port);
  const std::string also = network.empty() ? "" : ", or add \"" + network + "\" to egress_allow";
  return PermissionDenied(what + ", which outgoing connections may not reach (if " + name +
                          " is meant to be asked, give it a [registry.\"" + name + "\"] table" +
                          also + ")");
}

}  // namespace hearth::net
