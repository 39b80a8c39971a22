#include "oci/go_url.h"

#include <algorithm>
#include <optional>

#include "base/ascii.h"

namespace hearth::oci {

namespace {

// The parts of a URL that net/url escapes by different rules.
enum class Part { kPath, kUser, kHost, kFragment, kQuery };

bool IsAlnum(char c) {
  return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

bool In(std::string_view set, char c) { return set.find(c) != std::string_view::npos; }

bool ShouldEscape(char c, Part part) {
  if (IsAlnum(c) || In("-_.~", c)) return false;
  switch (part) {
    case Part::kPath:
      return !In("$&+,/:;=@", c);
    case Part::kUser:
      return !In("$&+,;=", c);
    case Part::kHost:
      return !In("!$&'()*+,;=:[]<>\"", c);
    case Part::kFragment:
      return !In("$&+,/:;=?@!()*", c);
    case Part::kQuery:
      return true;
  }
  return true;
}

std::string Escape(std::string_view text, Part part) {
  static constexpr char kHex[] = "0123456789ABCDEF";
  std::string out;
  for (const char c : text) {
    if (c == ' ' && part == Part::kQuery) {
      out += '+';
    } else if (ShouldEscape(c, part)) {
      const auto byte = static_cast<unsigned char>(c);
      out += '%';
      out += kHex[byte >> 4];
      out += kHex[byte & 15];
    } else {
      out += c;
    }
  }
  return out;
}

int HexValue(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

std::optional<std::string> Unescape(std::string_view text, Part part) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (c == '%') {
      if (i + 2 >= text.size() || HexValue(text[i + 1]) < 0 || HexValue(text[i + 2]) < 0) {
        return std::nullopt;
      }
      const int byte = HexValue(text[i + 1]) * 16 + HexValue(text[i + 2]);
      // A host may carry bytes of UTF-8 only.
      if (part == Part::kHost && byte < 0x80) return std::nullopt;
      out += static_cast<char>(byte);
      i += 2;
    } else if (c == '+' && part == Part::kQuery) {
      out += ' ';
    } else if (part == Part::kHost && static_cast<unsigned char>(c) < 0x80 &&
               ShouldEscape(c, part)) {
      return std::nullopt;
    } else {
      out += c;
    }
  }
  return out;
}

// Whether net/url takes the text for an acceptable encoding and gives it back as it is.
bool IsValidEncoding(std::string_view text, Part part) {
  return std::all_of(text.begin(), text.end(), [part](char c) {
    return In("!$&'()*+,;=:@[]%", c) || !ShouldEscape(c, part);
  });
}

std::optional<std::string> Rewrite(std::string_view text, Part part) {
  const auto plain = Unescape(text, part);
  if (!plain) return std::nullopt;
  return IsValidEncoding(text, part) ? std::string(text) : Escape(*plain, part);
}

Status Bad(std::string_view url, std::string_view why) {
  return InvalidArgument("URL \"" + std::string(url.substr(0, url.find('?')).substr(0, 200)) +
                         "\": " + std::string(why));
}

// Length of the scheme; 0 for none, npos for a colon where a scheme should be.
size_t SchemeLength(std::string_view url) {
  for (size_t i = 0; i < url.size(); ++i) {
    const char c = url[i];
    if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z')) continue;
    if (c == ':') return i == 0 ? std::string_view::npos : i;
    if (i == 0 || !(IsAlnum(c) || In("+-.", c))) return 0;
  }
  return 0;
}

bool IsUserInfo(std::string_view text) {
  return std::all_of(text.begin(), text.end(),
                     [](char c) { return IsAlnum(c) || In("-._:~!$&'()*+,;=%@", c); });
}

// ":" and digits, or nothing.
bool IsPortSuffix(std::string_view text) {
  if (text.empty()) return true;
  return text[0] == ':' &&
         std::all_of(text.begin() + 1, text.end(), [](char c) { return c >= '0' && c <= '9'; });
}

bool ReadHost(std::string_view text, GoUrl& url) {
  if (text.starts_with('[')) {
    const size_t end = text.rfind(']');
    if (end == std::string_view::npos || !IsPortSuffix(text.substr(end + 1))) return false;
  } else if (const size_t colon = text.rfind(':'); colon != std::string_view::npos) {
    if (!IsPortSuffix(text.substr(colon))) return false;
  }
  const auto plain = Unescape(text, Part::kHost);
  if (!plain) return false;
  url.host = Escape(*plain, Part::kHost);
  return true;
}

bool ReadAuthority(std::string_view text, GoUrl& url) {
  const size_t at = text.rfind('@');
  if (at == std::string_view::npos) return ReadHost(text, url);
  const std::string_view user = text.substr(0, at);
  if (!ReadHost(text.substr(at + 1), url) || !IsUserInfo(user)) return false;
  url.has_user = true;
  const size_t colon = user.find(':');
  const auto name = Unescape(user.substr(0, colon), Part::kUser);
  if (!name) return false;
  url.user = Escape(*name, Part::kUser);
  if (colon == std::string_view::npos) return true;
  const auto password = Unescape(user.substr(colon + 1), Part::kUser);
  if (!password) return false;
  url.user += ":" + Escape(*password, Part::kUser);
  return true;
}

}  // namespace

Result<GoUrl> GoUrl::Parse(std::string_view text) {
  GoUrl url;
  if (std::any_of(text.begin(), text.end(),
                  [](char c) { return static_cast<unsigned char>(c) < ' ' || c == '\x7f'; })) {
    return Bad("", "contains a control character");
  }
  std::string_view rest = text;
  if (const size_t hash = rest.find('#'); hash != std::string_view::npos) {
    const auto fragment = Rewrite(rest.substr(hash + 1), Part::kFragment);
    if (!fragment) return Bad(text, "has a bad escape in its fragment");
    url.fragment = *fragment;
    rest = rest.substr(0, hash);
  }
  const size_t scheme = SchemeLength(rest);
  if (scheme == std::string_view::npos) return Bad(text, "begins with a colon, not a scheme");
  url.scheme = AsciiLower(rest.substr(0, scheme));
  if (scheme > 0) rest.remove_prefix(scheme + 1);
  if (rest.ends_with('?') && std::count(rest.begin(), rest.end(), '?') == 1) {
    url.force_query = true;
    rest.remove_suffix(1);
  } else if (const size_t mark = rest.find('?'); mark != std::string_view::npos) {
    url.query = rest.substr(mark + 1);
    rest = rest.substr(0, mark);
  }
  if (!rest.starts_with('/')) {
    if (!url.scheme.empty()) {
      url.opaque = rest;
      return url;
    }
    if (rest.substr(0, rest.find('/')).find(':') != std::string_view::npos) {
      return Bad(text, "has a colon in its first path segment");
    }
  }
  if (rest.starts_with("//") && (!url.scheme.empty() || !rest.starts_with("///"))) {
    rest.remove_prefix(2);
    const size_t slash = std::min(rest.find('/'), rest.size());
    if (!ReadAuthority(rest.substr(0, slash), url)) return Bad(text, "has no valid host and port");
    rest.remove_prefix(slash);
  } else {
    url.omit_host = !url.scheme.empty() && rest.starts_with('/');
  }
  const auto path = Rewrite(rest, Part::kPath);
  if (!path) return Bad(text, "has a bad escape in its path");
  url.path = *path;
  return url;
}

std::string GoUrl::ToString() const {
  std::string out;
  if (!scheme.empty()) out += scheme + ":";
  if (!opaque.empty()) {
    out += opaque;
  } else {
    const bool slashes = !host.empty() || has_user || (!scheme.empty() && !path.empty());
    if (slashes && !omit_host) out += "//";
    if (has_user) out += user + "@";
    out += host;
    if (!path.empty() && path[0] != '/' && !host.empty()) out += '/';
    out += path;
  }
  if (force_query || !query.empty()) out += "?" + query;
  if (!fragment.empty()) out += "#" + fragment;
  return out;
}

std::vector<std::pair<std::string, std::string>> ParseGoQuery(std::string_view query) {
  std::vector<std::pair<std::string, std::string>> pairs;
  while (!query.empty()) {
    const std::string_view pair = query.substr(0, query.find('&'));
    query.remove_prefix(std::min(query.size(), pair.size() + 1));
    if (pair.empty() || pair.find(';') != std::string_view::npos) continue;
    const size_t equals = pair.find('=');
    auto name = Unescape(pair.substr(0, equals), Part::kQuery);
    auto value = equals == std::string_view::npos ? std::optional<std::string>("")
                                                  : Unescape(pair.substr(equals + 1), Part::kQuery);
    if (name && value) pairs.emplace_back(*std::move(name), *std::move(value));
  }
  return pairs;
}

std::string EncodeGoQuery(std::vector<std::pair<std::string, std::string>> pairs) {
  std::stable_sort(pairs.begin(), pairs.end(),
                   [](const auto& a, const auto& b) { return a.first < b.first; });
  std::string out;
  for (const auto& [name, value] : pairs) {
    if (!out.empty()) out += '&';
    out += Escape(name, Part::kQuery) + "=" + Escape(value, Part::kQuery);
  }
  return out;
}

}  // namespace hearth::oci
