#include "oci/shown_url.h"

#include <algorithm>

#include "base/ascii.h"
#include "oci/go_url.h"
#include "oci/task_url.h"

namespace hearth::oci {

namespace {

std::string_view WithoutFragment(std::string_view url) { return url.substr(0, url.find('#')); }

// Of signed URLs and of APIs, beside Dragonfly's list.
constexpr std::string_view kSigning[] = {
    "access_token", "apikey", "api_key", "auth", "awsaccesskeyid", "key-pair-id", "password",
    "policy",       "sas",    "secret",  "sig",  "sign",           "token"};

bool IsSecret(std::string_view name, const std::vector<std::string>& more) {
  const std::string lower = AsciiLower(name);
  const auto same = [&lower](const std::string& one) { return AsciiLower(one) == lower; };
  const auto& defaults = DefaultFilteredQueryParams();
  return lower != "ns" && (std::ranges::find(kSigning, lower) != std::end(kSigning) ||
                           std::ranges::any_of(defaults, same) || std::ranges::any_of(more, same));
}

std::string_view QueryOf(std::string_view url) {
  const size_t mark = url.find('?');
  return mark == std::string_view::npos ? std::string_view() : url.substr(mark + 1);
}

}  // namespace

std::string WithoutUserInfo(std::string url) {
  const size_t scheme = url.find("://");
  if (scheme == std::string::npos) return url;
  const size_t begin = scheme + 3;
  const size_t end = std::min(url.find_first_of("/?#", begin), url.size());
  const size_t at = url.substr(0, end).rfind('@');
  if (at == std::string::npos || at < begin) return url;
  return url.erase(begin, at + 1 - begin);
}

std::string WithoutSecrets(std::string_view url, const std::vector<std::string>& more) {
  const std::string shown = WithoutUserInfo(std::string(WithoutFragment(url)));
  std::string out(std::string_view(shown).substr(0, shown.find('?')));
  char separator = '?';
  for (const auto& [name, value] : ParseGoQuery(QueryOf(shown))) {
    const bool secret = IsSecret(name, more);
    out += separator;
    out += name;
    out += '=';
    out.append(secret ? std::string_view("***") : std::string_view(value));
    separator = '&';
  }
  return out;
}

bool IsFileUrl(std::string_view url) {
  const std::string begin = AsciiLower(url.substr(0, 8));
  return begin.starts_with("http://") || begin == "https://";
}

}  // namespace hearth::oci
