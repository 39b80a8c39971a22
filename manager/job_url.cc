#include "manager/job_url.h"

#include <algorithm>
#include <array>

#include "base/ascii.h"
#include "oci/task_id.h"
#include "oci/task_url.h"

namespace hearth::manager {

namespace {

constexpr size_t kMaxHeaderBytes = 16 << 10;

bool IsTokenCharacter(char c) {
  return std::isalnum(static_cast<unsigned char>(c)) != 0 ||
         std::string_view("!#$%&'*+-.^_`|~").find(c) != std::string_view::npos;
}

std::string_view WithoutPort(std::string_view host) {
  const size_t colon = host.rfind(':');
  const bool port = colon != std::string_view::npos && host.find(']', colon) == host.npos;
  return port ? host.substr(0, colon) : host;
}

}  // namespace

std::string UrlHost(std::string_view url) {
  const size_t scheme = url.find("://");
  if (scheme == std::string_view::npos) return "";
  url.remove_prefix(scheme + 3);
  url = url.substr(0, url.find_first_of("/?#"));
  return std::string(url.substr(url.rfind('@') + 1));
}

bool HostMatches(const std::string& host, const std::vector<std::string>& patterns) {
  const std::string whole = AsciiLower(host);
  const std::string_view name = WithoutPort(whole);
  return std::ranges::any_of(patterns, [&](const std::string& text) {
    const std::string pattern = AsciiLower(text);
    if (pattern == "*" || pattern == whole || pattern == name) return true;
    // "*.example.com" is not example.com itself.
    return pattern.starts_with("*.") && (name.ends_with(std::string_view(pattern).substr(1)) ||
                                         whole.ends_with(std::string_view(pattern).substr(1)));
  });
}

bool IsHeaderName(std::string_view name) {
  return !name.empty() && name.size() <= 256 && std::ranges::all_of(name, IsTokenCharacter);
}

bool IsHeaderValue(std::string_view value) {
  return value.size() <= kMaxHeaderBytes &&
         std::ranges::all_of(
             value, [](char c) { return c == '\t' || static_cast<unsigned char>(c) >= 0x20; }) &&
         value.find('\x7f') == std::string_view::npos;
}

bool IsHopHeader(std::string_view lower_name) {
  constexpr std::array<std::string_view, 10> kHop = {
      "connection", "content-length",    "expect", "host", "keep-alive", "range", "te",
      "trailer",    "transfer-encoding", "upgrade"};
  return std::ranges::find(kHop, lower_name) != kHop.end();
}

Result<std::string> TaskIdOf(const JobSpec& spec, const std::string& url) {
  oci::TaskIdInput input;
  input.url = url;
  input.tag = spec.tag;
  input.application = spec.application;
  input.piece_length = spec.piece_length;
  if (!spec.filter.empty()) {
    input.filtered_query_params = oci::ParseFilteredQueryParams(spec.filter);
  }
  return oci::TaskId(oci::kDefaultTaskIdScheme, input);
}

}  // namespace hearth::manager
