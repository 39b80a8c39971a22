#include "oci/reference.h"

#include <algorithm>
#include <cctype>

namespace hearth::oci {

namespace {

constexpr size_t kMaxReferenceBytes = 4096;
constexpr size_t kMaxPathBytes = 255;  // docker/distribution's limit
constexpr size_t kMaxTagBytes = 128;
constexpr std::string_view kHub = "docker.io";

bool IsDigit(char c) { return c >= '0' && c <= '9'; }
bool IsLowerAlnum(char c) { return IsDigit(c) || (c >= 'a' && c <= 'z'); }
bool IsUpper(char c) { return c >= 'A' && c <= 'Z'; }
bool IsAlnum(char c) { return IsLowerAlnum(c) || IsUpper(c); }
bool HasUpper(std::string_view text) { return std::any_of(text.begin(), text.end(), IsUpper); }

Status Bad(std::string_view text, std::string_view why) {
  return InvalidArgument("reference \"" + std::string(text.substr(0, 200)) +
                         "\": " + std::string(why));
}

// Letters, digits and inner hyphens.
bool IsDomainLabel(std::string_view label) {
  if (label.empty() || label.front() == '-' || label.back() == '-') return false;
  return std::all_of(label.begin(), label.end(), [](char c) { return IsAlnum(c) || c == '-'; });
}

bool IsIpv6Literal(std::string_view host) {
  if (host.size() < 4 || host.front() != '[' || host.back() != ']') return false;
  host = host.substr(1, host.size() - 2);
  return std::all_of(host.begin(), host.end(), [](char c) {
    return c == ':' || std::isxdigit(static_cast<unsigned char>(c)) != 0;
  });
}

// Length of the host part of "host[:port]".
size_t HostLength(std::string_view domain) {
  if (domain.starts_with('[')) {
    const size_t end = domain.find(']');
    return end == std::string_view::npos ? domain.size() : end + 1;
  }
  return std::min(domain.find(':'), domain.size());
}

bool IsDomain(std::string_view domain) {
  const std::string_view host = domain.substr(0, HostLength(domain));
  std::string_view rest = domain.substr(host.size());
  if (!rest.empty()) {
    rest.remove_prefix(1);
    if (domain[host.size()] != ':' || rest.empty() || rest.size() > 5 ||
        !std::all_of(rest.begin(), rest.end(), IsDigit)) {
      return false;
    }
  }
  if (host.starts_with('[')) return IsIpv6Literal(host);
  size_t start = 0;
  while (true) {
    const size_t dot = host.find('.', start);
    if (!IsDomainLabel(host.substr(start, dot - start))) return false;
    if (dot == std::string_view::npos) return true;
    start = dot + 1;
  }
}

// Runs of a-z0-9 joined by one '.', one or two '_', or any number of '-'.
bool IsPathComponent(std::string_view text) {
  size_t i = 0;
  while (true) {
    const size_t word = i;
    while (i < text.size() && IsLowerAlnum(text[i])) ++i;
    if (i == word) return false;
    if (i == text.size()) return true;
    const size_t separator = i;
    const char c = text[i];
    if (c != '.' && c != '_' && c != '-') return false;
    while (i < text.size() && text[i] == c) ++i;
    const size_t run = i - separator;
    if ((c == '.' && run > 1) || (c == '_' && run > 2)) return false;
  }
}

bool LooksLikeDomain(std::string_view first) {
  return first.find_first_of(".:") != std::string_view::npos || first == "localhost" ||
         HasUpper(first);
}

bool IsBareHexId(std::string_view text) {
  return text.size() == 64 && std::all_of(text.begin(), text.end(), [](char c) {
           return IsDigit(c) || (c >= 'a' && c <= 'f');
         });
}

Status CheckWhole(std::string_view text) {
  if (text.empty()) return Bad(text, "is empty (expected NAME[:TAG][@DIGEST])");
  if (text.size() > kMaxReferenceBytes) return Bad(text, "is longer than 4096 bytes");
  if (text.find("://") != std::string_view::npos) {
    return Bad(text, "begins with a URL scheme (leave it out: registry.example.com/name:tag)");
  }
  if (std::any_of(text.begin(), text.end(),
                  [](char c) { return static_cast<unsigned char>(c) <= ' ' || c == '\x7f'; })) {
    return Bad(text, "contains a space or a control character");
  }
  if (IsBareHexId(text)) {
    return Bad(text, "is a bare 64-digit hex ID (write NAME@sha256:" + std::string(text) + ")");
  }
  return OkStatus();
}

Status CheckName(std::string_view text, const Reference& reference) {
  if (!IsDomain(reference.domain)) {
    return Bad(text, "\"" + reference.domain + "\" is no registry host (expected HOST[:PORT])");
  }
  if (HasUpper(reference.path)) {
    return Bad(text, "the repository \"" + reference.path + "\" must be lower case");
  }
  if (!IsRepositoryPath(reference.path)) {
    return Bad(text, "\"" + reference.path +
                         "\" is no repository name (a-z, 0-9, inner '.', '_', '-', and '/')");
  }
  if (reference.path.size() > kMaxPathBytes) {
    return Bad(text, "the repository name is longer than 255 bytes");
  }
  return OkStatus();
}

}  // namespace

bool IsRegistryDomain(std::string_view text) { return IsDomain(text); }

bool IsRepositoryPath(std::string_view text) {
  size_t start = 0;
  while (true) {
    const size_t slash = text.find('/', start);
    if (!IsPathComponent(text.substr(start, slash - start))) return false;
    if (slash == std::string_view::npos) return true;
    start = slash + 1;
  }
}

bool IsTag(std::string_view text) {
  if (text.empty() || text.size() > kMaxTagBytes) return false;
  if (!IsAlnum(text.front()) && text.front() != '_') return false;
  return std::all_of(text.begin(), text.end(),
                     [](char c) { return IsAlnum(c) || c == '_' || c == '.' || c == '-'; });
}

Result<Reference> Reference::Parse(std::string_view text) {
  TRY_STATUS(CheckWhole(text));
  Reference reference;
  std::string_view rest = text;
  if (const size_t at = rest.find('@'); at != std::string_view::npos) {
    reference.digest = TRY(Digest::Parse(rest.substr(at + 1))
                               .Annotate("reference \"" + std::string(text.substr(0, 200)) + "\""));
    rest = rest.substr(0, at);
  }
  const size_t slash = rest.find('/');
  if (slash != std::string_view::npos && LooksLikeDomain(rest.substr(0, slash))) {
    reference.domain = rest.substr(0, slash);
    rest.remove_prefix(slash + 1);
  } else {
    reference.domain = kHub;
  }
  if (reference.domain == "index.docker.io") reference.domain = kHub;
  if (const size_t colon = rest.rfind(':'); colon != std::string_view::npos) {
    reference.tag = rest.substr(colon + 1);
    rest = rest.substr(0, colon);
    if (!IsTag(reference.tag)) {
      return Bad(text, "\"" + reference.tag +
                           "\" is no tag (letters, digits, '_', '.', '-'; at most 128)");
    }
  } else if (!reference.digest) {
    reference.tag = "latest";
  }
  const bool official =
      reference.domain == kHub && !rest.empty() && rest.find('/') == std::string_view::npos;
  reference.path = official ? "library/" + std::string(rest) : std::string(rest);
  TRY_STATUS(CheckName(text, reference));
  // With what was left out put in, it must be read again.
  if (reference.ToString().size() > kMaxReferenceBytes) {
    return Bad(text, "is longer than 4096 bytes with the parts that it leaves out");
  }
  return reference;
}

std::string Reference::ToString() const {
  std::string text = Name();
  if (!tag.empty()) text += ":" + tag;
  if (digest) text += "@" + digest->ToString();
  return text;
}

std::string Reference::CriName() const {
  if (digest) return Name() + "@" + digest->ToString();
  return ToString();
}

std::string NormalizeDomain(std::string_view domain) {
  if (domain == "index.docker.io" || domain == "registry-1.docker.io") return std::string(kHub);
  return std::string(domain);
}

std::string RegistryApiHost(std::string_view domain) {
  return NormalizeDomain(domain) == kHub ? "registry-1.docker.io" : std::string(domain);
}

bool IsLoopbackHost(std::string_view domain) {
  const std::string_view host = domain.substr(0, HostLength(domain));
  if (host == "localhost" || host == "[::1]") return true;
  if (!host.starts_with("127.")) return false;
  return std::all_of(host.begin(), host.end(), [](char c) { return IsDigit(c) || c == '.'; }) &&
         std::count(host.begin(), host.end(), '.') == 3;
}

std::string_view DefaultScheme(std::string_view domain) {
  return IsLoopbackHost(domain) ? "http" : "https";
}

}  // namespace hearth::oci
