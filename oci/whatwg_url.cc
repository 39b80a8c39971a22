#include "oci/whatwg_url.h"

#include <arpa/inet.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <optional>

#include "base/ascii.h"

namespace hearth::oci {

namespace {

// Beyond controls and non-ASCII, which are always escaped.
constexpr std::string_view kFragmentSet = " \"<>`";
constexpr std::string_view kPathSet = " \"#<>?`{}";
constexpr std::string_view kUserSet = " \"#<>?`{}/:;=@[\\]^|";

bool IsAlpha(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }
bool IsDigit(char c) { return c >= '0' && c <= '9'; }
bool In(std::string_view set, char c) { return set.find(c) != std::string_view::npos; }

int HexValue(char c) {
  if (IsDigit(c)) return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

void AppendEscaped(std::string& out, char c) {
  static constexpr char kHex[] = "0123456789ABCDEF";
  const auto byte = static_cast<unsigned char>(c);
  out += '%';
  out += kHex[byte >> 4];
  out += kHex[byte & 15];
}

std::string Escape(std::string_view text, std::string_view set) {
  std::string out;
  for (const char c : text) {
    if (static_cast<unsigned char>(c) < ' ' || static_cast<unsigned char>(c) > '~' || In(set, c)) {
      AppendEscaped(out, c);
    } else {
      out += c;
    }
  }
  return out;
}

std::string Unescape(std::string_view text, bool plus_is_space) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '%' && i + 2 < text.size() && HexValue(text[i + 1]) >= 0 &&
        HexValue(text[i + 2]) >= 0) {
      out += static_cast<char>(HexValue(text[i + 1]) * 16 + HexValue(text[i + 2]));
      i += 2;
    } else {
      out += plus_is_space && text[i] == '+' ? ' ' : text[i];
    }
  }
  return out;
}

// The default port of a "special" scheme; nullopt for all others.
std::optional<int> DefaultPort(std::string_view scheme) {
  if (scheme == "http" || scheme == "ws") return 80;
  if (scheme == "https" || scheme == "wss") return 443;
  if (scheme == "ftp") return 21;
  return std::nullopt;
}

Status Bad(std::string_view url, std::string_view why) {
  return InvalidArgument("URL \"" + std::string(url.substr(0, url.find('?')).substr(0, 200)) +
                         "\": " + std::string(why));
}

// Without what the standard strips: outer controls and spaces, inner tabs and line ends.
std::string Strip(std::string_view text) {
  while (!text.empty() && static_cast<unsigned char>(text.front()) <= ' ') text.remove_prefix(1);
  while (!text.empty() && static_cast<unsigned char>(text.back()) <= ' ') text.remove_suffix(1);
  std::string out;
  std::copy_if(text.begin(), text.end(), std::back_inserter(out),
               [](char c) { return !In("\t\r\n", c); });
  return out;
}

// "0x7f" → 127, "017" → 15; nullopt for no number.
std::optional<uint64_t> Ipv4Number(std::string_view text) {
  int base = 10;
  if (text.starts_with("0x") || text.starts_with("0X")) {
    text.remove_prefix(2);
    base = 16;
    if (text.empty()) return 0;
  } else if (text.size() > 1 && text[0] == '0') {
    text.remove_prefix(1);
    base = 8;
  }
  uint64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number, base);
  if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return number;
}

std::vector<std::string_view> Split(std::string_view text, char separator) {
  std::vector<std::string_view> parts;
  while (true) {
    const size_t at = text.find(separator);
    parts.push_back(text.substr(0, at));
    if (at == std::string_view::npos) return parts;
    text.remove_prefix(at + 1);
  }
}

bool EndsInNumber(std::string_view host) {
  if (host.ends_with('.')) host.remove_suffix(1);
  const std::string_view last = host.substr(host.rfind('.') + 1);
  if (last.empty()) return false;
  return std::all_of(last.begin(), last.end(), IsDigit) || Ipv4Number(last).has_value();
}

// A host whose last label is a number is an IPv4 address, or wrong.
std::optional<std::string> NormalIpv4(std::string_view host) {
  if (host.ends_with('.')) host.remove_suffix(1);
  const auto parts = Split(host, '.');
  if (parts.size() > 4) return std::nullopt;
  uint64_t address = 0;
  for (size_t i = 0; i < parts.size(); ++i) {
    if (parts[i].empty()) return std::nullopt;
    const bool last = i + 1 == parts.size();
    const uint64_t limit = last ? uint64_t{1} << (8 * (4 - i)) : 256;
    // Not `*number`: under TSan g++ takes it for maybe uninitialized.
    const uint64_t number = Ipv4Number(parts[i]).value_or(limit);
    if (number >= limit) return std::nullopt;
    address += last ? number : number << (8 * (3 - i));
  }
  std::string out;
  for (int shift = 24; shift >= 0; shift -= 8) {
    out += (out.empty() ? "" : ".") + std::to_string((address >> shift) & 255);
  }
  return out;
}

std::string FormatIpv6(const std::array<uint16_t, 8>& groups) {
  size_t best = 8;
  size_t best_length = 1;  // a single zero is not compressed
  for (size_t i = 0; i < 8;) {
    size_t end = i;
    while (end < 8 && groups[end] == 0) ++end;
    if (end - i > best_length) {
      best = i;
      best_length = end - i;
    }
    i = std::max(end, i + 1);
  }
  std::string out;
  for (size_t i = 0; i < 8; ++i) {
    if (i == best) {
      out += i == 0 ? "::" : ":";
      i += best_length - 1;
      continue;
    }
    char text[8];
    const auto [end, error] = std::to_chars(text, text + sizeof(text), groups[i], 16);
    (void)error;
    out.append(text, end);
    if (i != 7) out += ':';
  }
  return out;
}

std::optional<std::string> NormalIpv6(const std::string& text) {
  in6_addr address{};
  if (::inet_pton(AF_INET6, text.c_str(), &address) != 1) return std::nullopt;
  std::array<uint16_t, 8> groups{};
  for (size_t i = 0; i < 8; ++i) {
    groups[i] = static_cast<uint16_t>(address.s6_addr[2 * i] << 8 | address.s6_addr[2 * i + 1]);
  }
  return FormatIpv6(groups);
}

Result<std::string> NormalHost(std::string_view url, std::string_view text, bool special) {
  if (text.starts_with('[')) {
    const auto address = text.ends_with(']')
                             ? NormalIpv6(std::string(text.substr(1, text.size() - 2)))
                             : std::nullopt;
    if (!address) return Bad(url, "has no valid IPv6 address");
    return "[" + *address + "]";
  }
  constexpr std::string_view kForbidden = " #/<>?@[\\]^|:";
  const std::string host = special ? AsciiLower(Unescape(text, false)) : std::string(text);
  for (const char c : host) {
    const auto byte = static_cast<unsigned char>(c);
    if (special && byte > '~' && byte != 0x7f) {
      return Unimplemented("URL: a host beyond ASCII is not supported (write it in punycode)");
    }
    if (In(kForbidden, c) || byte == 0 || (special && (byte < ' ' || byte == 0x7f || c == '%'))) {
      return Bad(url, "has a character in its host that may not be there");
    }
  }
  if (!special) return Escape(host, "");
  if (host.empty()) return Bad(url, "has no host");
  if (!EndsInNumber(host)) return host;
  const auto address = NormalIpv4(host);
  if (!address) return Bad(url, "has no valid IPv4 address");
  return *address;
}

Result<std::string> NormalAuthority(std::string_view url, std::string_view text,
                                    std::optional<int> default_port, bool special) {
  std::string out;
  if (const size_t at = text.rfind('@'); at != std::string_view::npos) {
    const std::string_view user = text.substr(0, at);
    const size_t colon = user.find(':');
    const std::string name = Escape(user.substr(0, colon), kUserSet);
    const std::string password =
        colon == std::string_view::npos ? "" : Escape(user.substr(colon + 1), kUserSet);
    out += name + (password.empty() ? "" : ":" + password);
    if (!out.empty()) out += '@';
    text.remove_prefix(at + 1);
  }
  const size_t bracket = text.starts_with('[') ? text.find(']') : 0;
  const size_t colon = bracket == std::string_view::npos ? bracket : text.find(':', bracket);
  out += TRY(NormalHost(url, text.substr(0, colon), special));
  if (colon == std::string_view::npos || colon + 1 == text.size()) return out;
  const std::string_view port_text = text.substr(colon + 1);
  int port = 0;
  const auto [end, error] =
      std::from_chars(port_text.data(), port_text.data() + port_text.size(), port);
  if (error != std::errc{} || end != port_text.data() + port_text.size() || port < 0 ||
      port > 65535) {
    return Bad(url, "has no valid port");
  }
  if (port != default_port) out += ":" + std::to_string(port);
  return out;
}

bool IsDot(std::string_view segment) { return segment == "." || AsciiLower(segment) == "%2e"; }

bool IsDoubleDot(std::string_view segment) {
  const std::string lower = AsciiLower(segment);
  return lower == ".." || lower == ".%2e" || lower == "%2e." || lower == "%2e%2e";
}

// `text` begins with a slash or is empty.
std::string NormalPath(std::string text, bool special) {
  if (special) std::replace(text.begin(), text.end(), '\\', '/');
  if (text.empty()) return special ? "/" : "";
  std::vector<std::string_view> kept;
  const auto segments = Split(std::string_view(text).substr(1), '/');
  for (size_t i = 0; i < segments.size(); ++i) {
    const bool last = i + 1 == segments.size();
    if (IsDoubleDot(segments[i])) {
      if (!kept.empty()) kept.pop_back();
      if (last) kept.emplace_back();
    } else if (IsDot(segments[i])) {
      if (last) kept.emplace_back();
    } else {
      kept.push_back(segments[i]);
    }
  }
  std::string out;
  for (const std::string_view segment : kept) out += "/" + Escape(segment, kPathSet);
  return out.empty() ? "/" : out;
}

}  // namespace

Result<WhatwgUrl> WhatwgUrl::Parse(std::string_view text) {
  const std::string stripped = Strip(text);
  std::string_view rest = stripped;
  WhatwgUrl url;
  const size_t colon = rest.find(':');
  const std::string_view scheme = rest.substr(0, colon);
  if (colon == std::string_view::npos || scheme.empty() || !IsAlpha(scheme[0]) ||
      !std::all_of(scheme.begin(), scheme.end(),
                   [](char c) { return IsAlpha(c) || IsDigit(c) || In("+-.", c); })) {
    return Bad(text, "has no scheme (expected http://… or https://…)");
  }
  url.scheme = AsciiLower(scheme);
  rest.remove_prefix(colon + 1);
  if (const size_t hash = rest.find('#'); hash != std::string_view::npos) {
    url.has_fragment = true;
    url.fragment = Escape(rest.substr(hash + 1), kFragmentSet);
    rest = rest.substr(0, hash);
  }
  if (const size_t mark = rest.find('?'); mark != std::string_view::npos) {
    url.has_query = true;
    url.query = rest.substr(mark + 1);
    rest = rest.substr(0, mark);
  }
  const auto default_port = DefaultPort(url.scheme);
  const bool special = default_port.has_value();
  if (special) {
    while (!rest.empty() && In("/\\", rest.front())) rest.remove_prefix(1);
  } else if (rest.starts_with("//")) {
    rest.remove_prefix(2);
  } else {
    return Bad(text, "has no //HOST after its scheme");
  }
  const size_t end = std::min(rest.find_first_of(special ? "/\\" : "/"), rest.size());
  url.authority = TRY(NormalAuthority(text, rest.substr(0, end), default_port, special));
  url.empty_path = end == rest.size();
  url.path = NormalPath(std::string(rest.substr(end)), special);
  return url;
}

std::string WhatwgUrl::ToString() const {
  std::string out = scheme + "://" + authority + path;
  if (has_query) out += "?" + query;
  if (has_fragment) out += "#" + fragment;
  return out;
}

std::vector<std::pair<std::string, std::string>> ParseFormQuery(std::string_view query) {
  std::vector<std::pair<std::string, std::string>> pairs;
  for (const std::string_view pair : Split(query, '&')) {
    if (pair.empty()) continue;
    const size_t equals = pair.find('=');
    pairs.emplace_back(
        Unescape(pair.substr(0, equals), true),
        equals == std::string_view::npos ? "" : Unescape(pair.substr(equals + 1), true));
  }
  return pairs;
}

std::string EncodeFormQuery(const std::vector<std::pair<std::string, std::string>>& pairs) {
  const auto encode = [](const std::string& text) {
    std::string out;
    for (const char c : text) {
      if (IsAlpha(c) || IsDigit(c) || In("*-._", c)) {
        out += c;
      } else if (c == ' ') {
        out += '+';
      } else {
        AppendEscaped(out, c);
      }
    }
    return out;
  };
  std::string out;
  for (const auto& [name, value] : pairs) {
    if (!out.empty()) out += '&';
    out += encode(name) + "=" + encode(value);
  }
  return out;
}

}  // namespace hearth::oci
