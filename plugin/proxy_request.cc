#include "plugin/proxy_request.h"

#include <algorithm>
#include <charconv>
#include <vector>

#include "base/ascii.h"
#include "base/units.h"
#include "oci/task_url.h"

namespace hearth::plugin {
namespace {

constexpr std::string_view kFilePrefix = "/file/";
constexpr std::string_view kDragonfly = "x-dragonfly-";
constexpr uint64_t kMinPieceLength = 4ull << 20;
constexpr uint64_t kMaxPieceLength = 1024ull << 20;
constexpr size_t kMaxLabelBytes = 1024;
constexpr uint64_t kMaxPriority = 6;

// "host:port", "[v6]:port"; `default_port` 0 = it must be said.
Status ReadAuthority(std::string_view authority, uint16_t default_port, ProxyTarget& out) {
  const Status bad =
      InvalidArgument("\"" + std::string(authority.substr(0, 200)) + "\" names no host and port");
  std::string_view port;
  std::string_view host = authority;
  if (authority.starts_with('[')) {
    const size_t end = authority.find(']');
    if (end == std::string_view::npos) return bad;
    host = authority.substr(1, end - 1);
    if (host.find_first_not_of("0123456789abcdefABCDEF:.") != std::string_view::npos) return bad;
    port = authority.substr(end + 1);
    if (!port.empty() && port.front() != ':') return bad;
    if (!port.empty()) port.remove_prefix(1);
  } else {
    const size_t colon = authority.find(':');
    if (colon != std::string_view::npos) {
      host = authority.substr(0, colon);
      port = authority.substr(colon + 1);
    }
    const bool good = std::all_of(host.begin(), host.end(), [](char c) {
      return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
             c == '-' || c == '.' || c == '_';
    });
    if (!good) return bad;
  }
  if (host.empty()) return bad;
  out.host = AsciiLower(host);
  out.port = default_port;
  if (!port.empty()) {
    const auto [end, error] = std::from_chars(port.data(), port.data() + port.size(), out.port);
    if (error != std::errc() || end != port.data() + port.size()) return bad;
  }
  return out.port == 0 ? bad : OkStatus();
}

Status ReadUrl(std::string_view scheme, std::string_view rest, ProxyTarget& out) {
  rest = rest.substr(0, rest.find('#'));
  const std::string_view authority = rest.substr(0, rest.find_first_of("/?"));
  if (authority.find('@') != std::string_view::npos) {
    return InvalidArgument("the URL has a user name in it (send it as Authorization)");
  }
  TRY_STATUS(ReadAuthority(authority, scheme == "https" ? 443 : 80, out));
  const std::string_view tail = rest.substr(authority.size());
  const bool printable = std::all_of(tail.begin(), tail.end(), [](char c) {
    return static_cast<unsigned char>(c) > ' ' && c != '\x7f';
  });
  if (!printable) return InvalidArgument("the URL has blanks or control characters in it");
  out.url = std::string(scheme) + "://" + AsciiLower(authority);
  if (!tail.starts_with('/')) out.url += '/';
  out.url += tail;
  if (out.url.size() <= ProxyTarget::kMaxUrlBytes) return OkStatus();
  return InvalidArgument("the URL is longer than " + std::to_string(ProxyTarget::kMaxUrlBytes) +
                         " bytes");
}

Result<bool> ParseBool(std::string_view text) {
  const std::string word = AsciiLower(TrimBlanks(text));
  if (word == "true" || word == "1") return true;
  if (word == "false" || word == "0" || word.empty()) return false;
  return InvalidArgument("must be true or false");
}

Result<std::string> ParseLabel(std::string_view text) {
  if (text.size() <= kMaxLabelBytes) return std::string(TrimBlanks(text));
  return InvalidArgument("longer than " + std::to_string(kMaxLabelBytes) + " bytes");
}

Result<uint64_t> ParsePieceLength(std::string_view text) {
  const uint64_t bytes = TRY(ParseByteSize(TrimBlanks(text)));
  if (bytes >= kMinPieceLength && bytes <= kMaxPieceLength) return bytes;
  return InvalidArgument("must be 4MiB to 1024MiB");
}

Status CheckPriority(std::string_view text) {
  const auto priority = ParseDecimal(TrimBlanks(text));
  if (priority && *priority <= kMaxPriority) return OkStatus();
  return InvalidArgument("must be 0 to 6");
}

Status Refused(const std::string& why) { return Unimplemented(why); }

// One header; `name` in lower case, after "x-dragonfly-".
Status Take(const std::string& name, std::string_view value, DragonflyHeaders& out) {
  if (name == "tag") {
    out.labels.tag = TRY(ParseLabel(value));
  } else if (name == "application") {
    out.labels.application = TRY(ParseLabel(value));
  } else if (name == "filtered-query-params" || name == "filter") {
    const char separator = name == "filter" ? '&' : ',';
    out.labels.filter = oci::ParseFilteredQueryParams(TRY(ParseLabel(value)), separator);
    for (std::string& parameter : *out.labels.filter) parameter = TrimBlanks(parameter);
  } else if (name == "piece-length") {
    out.labels.piece_length = TRY(ParsePieceLength(value));
  } else if (name == "priority") {
    return CheckPriority(value);  // every request is served as soon as it can be
  } else if (name == "use-p2p") {
    out.use_store = TRY(ParseBool(value));
  } else if (name == "prefetch") {
    out.prefetch = TRY(ParseBool(value));
  } else if (name == "force-hard-link") {
    if (TRY(ParseBool(value))) return Refused("the node hands out no links into its store");
  } else if (name == "enable-task-id-based-blob-digest") {
    return ParseBool(value).status();  // a registry's blob is known by its digest anyhow
  } else if (name == "output-path") {
    return Refused("the node writes no file where a client says (use hearth get URL -o FILE)");
  } else if (name == "content-for-calculating-task-id") {
    return Refused("a file is known by its URL, tag and application");
  } else if (name == "registry") {
    return Refused("a registry is named by ns= on /v2/, not with a file");
  } else {
    return InvalidArgument("unknown header");
  }
  return OkStatus();
}

bool IsHopByHop(const std::string& name) {
  static const std::vector<std::string> kNames = {"connection",
                                                  "keep-alive",
                                                  "proxy-authenticate",
                                                  "proxy-authorization",
                                                  "proxy-authentication-info",
                                                  "proxy-connection",
                                                  "te",
                                                  "trailer",
                                                  "transfer-encoding",
                                                  "upgrade"};
  return std::find(kNames.begin(), kNames.end(), name) != kNames.end();
}

// The names that Connection says belong to this connection alone.
std::vector<std::string> ConnectionTokens(const net::HttpHeaders& headers) {
  std::vector<std::string> tokens;
  for (std::string_view value : headers.GetAll("Connection")) {
    while (!value.empty()) {
      const std::string_view token = value.substr(0, value.find(','));
      value.remove_prefix(std::min(value.size(), token.size() + 1));
      tokens.push_back(AsciiLower(TrimBlanks(token)));
    }
  }
  return tokens;
}

net::HttpHeaders EndToEnd(const net::HttpHeaders& headers) {
  const std::vector<std::string> tokens = ConnectionTokens(headers);
  net::HttpHeaders out;
  for (const auto& [name, value] : headers.fields()) {
    const std::string lower = AsciiLower(name);
    if (IsHopByHop(lower) || std::find(tokens.begin(), tokens.end(), lower) != tokens.end()) {
      continue;
    }
    out.Add(name, value);
  }
  return out;
}

void AddVia(net::HttpHeaders& headers, std::string_view via) {
  std::string chain;
  for (const std::string_view value : headers.GetAll("Via")) chain += std::string(value) + ", ";
  headers.Set("Via", chain + "1.1 " + std::string(via));
}

}  // namespace

Result<ProxyTarget> ProxyTarget::Parse(std::string_view method, std::string_view target) {
  ProxyTarget out;
  if (method == "CONNECT") {
    out.kind = Kind::kConnect;
    TRY_STATUS(ReadAuthority(target, 0, out));
    return out;
  }
  if (target.starts_with(kFilePrefix)) {
    out.kind = Kind::kFile;
    const std::string_view rest = target.substr(kFilePrefix.size());
    const std::string scheme(rest.substr(0, rest.find('/')));
    if ((scheme != "http" && scheme != "https") || rest.size() == scheme.size()) {
      return InvalidArgument("want /file/https/HOST/PATH or /file/http/HOST/PATH");
    }
    TRY_STATUS(ReadUrl(scheme, rest.substr(scheme.size() + 1), out));
    return out;
  }
  const size_t end = target.find("://");
  if (target.starts_with('/') || end == std::string_view::npos) return out;
  const std::string scheme = AsciiLower(target.substr(0, end));
  if (scheme != "http" && scheme != "https") {
    return InvalidArgument("the proxy takes http and https URLs only");
  }
  out.kind = Kind::kUrl;
  TRY_STATUS(ReadUrl(scheme, target.substr(end + 3), out));
  return out;
}

Result<DragonflyHeaders> DragonflyHeaders::Parse(const net::HttpHeaders& headers) {
  DragonflyHeaders out;
  for (const auto& [name, value] : headers.fields()) {
    const std::string lower = AsciiLower(name);
    if (!lower.starts_with(kDragonfly)) continue;
    TRY_STATUS(Take(lower.substr(kDragonfly.size()), value, out).Annotate(name));
  }
  return out;
}

net::HttpHeaders ForwardedHeaders(const net::HttpHeaders& headers, std::string_view via) {
  net::HttpHeaders out;
  const net::HttpHeaders kept = EndToEnd(headers);
  for (const auto& [name, value] : kept.fields()) {
    const std::string lower = AsciiLower(name);
    if (lower.starts_with(kDragonfly) || lower == "host" || lower == "content-length" ||
        lower == "expect") {
      continue;
    }
    out.Add(name, value);
  }
  AddVia(out, via);
  return out;
}

net::HttpHeaders ReturnedHeaders(const net::HttpHeaders& headers, std::string_view via) {
  net::HttpHeaders out = EndToEnd(headers);
  AddVia(out, via);
  return out;
}

bool HasPassed(const net::HttpHeaders& headers, std::string_view via) {
  for (std::string_view value : headers.GetAll("Via")) {
    while (!value.empty()) {
      const std::string_view hop = TrimBlanks(value.substr(0, value.find(',')));
      value.remove_prefix(std::min(value.size(), value.find(',') == std::string_view::npos
                                                     ? value.size()
                                                     : value.find(',') + 1));
      const size_t blank = hop.find(' ');
      if (blank != std::string_view::npos && TrimBlanks(hop.substr(blank)) == via) return true;
    }
  }
  return false;
}

}  // namespace hearth::plugin
