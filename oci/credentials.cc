#include "oci/credentials.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

#include "base/base64.h"
#include "base/file.h"
#include "oci/reference.h"

namespace hearth::oci {

namespace {

using nlohmann::json;

// Docker writes keys as "host", "https://host", "https://index.docker.io/v1/", Kubernetes also as
// "*.example.com/team".
std::pair<std::string, std::string> SplitKey(std::string_view key) {
  if (const size_t scheme = key.find("://"); scheme != std::string_view::npos) {
    key.remove_prefix(scheme + 3);
  }
  const size_t slash = std::min(key.find('/'), key.size());
  std::string_view path = key.substr(std::min(slash + 1, key.size()));
  if (path == "v1" || path == "v2" || path.starts_with("v1/") || path.starts_with("v2/")) {
    path.remove_prefix(std::min<size_t>(3, path.size()));
  }
  return {NormalizeDomain(key.substr(0, slash)), std::string(path)};
}

// "*" and "?" within one label; both texts without dots. Linear in the product of their sizes.
bool LabelMatches(std::string_view pattern, std::string_view label) {
  size_t at = 0, in = 0, star = std::string_view::npos, retry = 0;
  while (in < label.size()) {
    if (at < pattern.size() && (pattern[at] == '?' || pattern[at] == label[in])) {
      ++at;
      ++in;
    } else if (at < pattern.size() && pattern[at] == '*') {
      star = at++;
      retry = in;
    } else if (star != std::string_view::npos) {
      at = star + 1;
      in = ++retry;
    } else {
      return false;
    }
  }
  return pattern.find_first_not_of('*', at) == std::string_view::npos;
}

bool HostMatches(std::string_view pattern, std::string_view host) {
  for (;;) {
    const size_t pattern_end = std::min(pattern.find('.'), pattern.size());
    const size_t host_end = std::min(host.find('.'), host.size());
    if (!LabelMatches(pattern.substr(0, pattern_end), host.substr(0, host_end))) return false;
    const bool last = pattern_end == pattern.size();
    if (last != (host_end == host.size())) return false;
    if (last) return true;
    pattern.remove_prefix(pattern_end + 1);
    host.remove_prefix(host_end + 1);
  }
}

// Ports must be equal: no pattern reaches over the colon.
std::pair<std::string_view, std::string_view> SplitPort(std::string_view host) {
  const size_t colon = host.rfind(':');
  if (colon == std::string_view::npos || host.ends_with(']')) return {host, ""};
  return {host.substr(0, colon), host.substr(colon + 1)};
}

Status Wrong(const std::string& key, std::string_view why) {
  return InvalidArgument("docker config: auths[\"" + key + "\"]" + std::string(why));
}

Result<std::string> TextField(const json& entry, const std::string& key, const char* name) {
  const auto field = entry.find(name);
  if (field == entry.end() || field->is_null()) return std::string();
  if (!field->is_string()) return Wrong(key, "." + std::string(name) + " is no text");
  return field->get<std::string>();
}

Result<Credential> ReadEntry(const std::string& key, const json& entry) {
  if (!entry.is_object()) return Wrong(key, " is no object");
  Credential credential;
  credential.username = TRY(TextField(entry, key, "username"));
  credential.password = Secret<std::string>(TRY(TextField(entry, key, "password")));
  credential.identity_token = Secret<std::string>(TRY(TextField(entry, key, "identitytoken")));
  const std::string auth = TRY(TextField(entry, key, "auth"));
  if (auth.empty()) return credential;
  const Result<std::string> decoded = DecodeBase64(auth);
  const size_t colon = decoded.ok() ? decoded.value().find(':') : std::string::npos;
  if (colon == std::string::npos) {
    return Wrong(key, ".auth is not the base64 of USER:PASSWORD (run docker login again)");
  }
  credential.username = decoded.value().substr(0, colon);
  credential.password = Secret<std::string>(decoded.value().substr(colon + 1));
  return credential;
}

}  // namespace

Result<DockerConfig> DockerConfig::Parse(std::string_view text) {
  if (text.size() > kMaxBytes) return ResourceExhausted("docker config: is larger than 1 MiB");
  const json document = json::parse(text, nullptr, false);
  if (document.is_discarded() || !document.is_object()) {
    return InvalidArgument("docker config: is no JSON object (expected {\"auths\": {…}})");
  }
  DockerConfig config;
  if (const auto auths = document.find("auths"); auths != document.end() && !auths->is_null()) {
    if (!auths->is_object()) return InvalidArgument("docker config: auths is no object");
    for (const auto& [key, entry] : auths->items()) {
      Credential credential = TRY(ReadEntry(key, entry));
      auto [host, path] = SplitKey(key);
      config.entries_.push_back({std::move(host), std::move(path), std::move(credential)});
    }
  }
  // A longer path before its prefix, a name before the pattern that it matches.
  std::stable_sort(config.entries_.begin(), config.entries_.end(),
                   [](const Entry& a, const Entry& b) {
                     return std::pair(a.host, a.path) > std::pair(b.host, b.path);
                   });
  if (const auto helpers = document.find("credHelpers"); helpers != document.end()) {
    if (!helpers->is_object()) return InvalidArgument("docker config: credHelpers is no object");
    for (const auto& [key, helper] : helpers->items()) {
      if (!helper.is_string()) {
        return InvalidArgument("docker config: credHelpers[\"" + key + "\"] is no text");
      }
      config.helpers_[SplitKey(key).first] = helper.get<std::string>();
    }
  }
  if (const auto store = document.find("credsStore"); store != document.end()) {
    if (!store->is_string()) return InvalidArgument("docker config: credsStore is no text");
    config.default_helper_ = store->get<std::string>();
  }
  return config;
}

Result<DockerConfig> DockerConfig::Load(const std::filesystem::path& path) {
  const std::string text = TRY(ReadFile(path, kMaxBytes));
  return Parse(text).Annotate(path.string());
}

const DockerConfig::Entry* DockerConfig::Find(std::string_view domain,
                                              std::string_view path) const {
  const auto [host, port] = SplitPort(domain);
  for (const Entry& entry : entries_) {
    const auto [entry_host, entry_port] = SplitPort(entry.host);
    if (entry_port == port && HostMatches(entry_host, host) && path.starts_with(entry.path)) {
      return &entry;
    }
  }
  return nullptr;
}

Result<Credential> DockerConfig::For(std::string_view domain_text, std::string_view path) const {
  const std::string domain = NormalizeDomain(domain_text);
  const Entry* found = Find(domain, path);
  if (found != nullptr && !found->credential.empty()) return found->credential;
  const auto helper = helpers_.find(domain);
  std::string name = helper != helpers_.end() ? helper->second : "";
  // `docker login` leaves an empty entry behind where it gave the secret to the default helper.
  if (name.empty() && found != nullptr) name = default_helper_;
  if (name.empty()) return Credential();
  return Unimplemented("docker config: " + domain +
                       " is left to the credential helper docker-credential-" + name +
                       ", which Hearth does not run (give it an auths entry of its own)");
}

}  // namespace hearth::oci
