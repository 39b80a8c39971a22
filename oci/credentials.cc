#include "oci/credentials.h"

#include <openssl/evp.h>

#include <nlohmann/json.hpp>

#include "base/file.h"
#include "oci/reference.h"

namespace hearth::oci {

namespace {

using nlohmann::json;

// Docker writes keys as "host", "https://host", "https://index.docker.io/v1/".
std::string DomainOfKey(std::string_view key) {
  if (const size_t scheme = key.find("://"); scheme != std::string_view::npos) {
    key.remove_prefix(scheme + 3);
  }
  return NormalizeDomain(key.substr(0, key.find('/')));
}

Status Wrong(const std::string& key, std::string_view why) {
  return InvalidArgument("docker config: auths[\"" + key + "\"]" + std::string(why));
}

Result<std::string> DecodeBase64(std::string text) {
  std::erase_if(text, [](char c) { return c == '\n' || c == '\r' || c == ' '; });
  while (text.ends_with('=')) text.pop_back();
  const size_t padding = (4 - text.size() % 4) % 4;
  text.append(padding, '=');
  std::string out(text.size() / 4 * 3, '\0');
  const int size = ::EVP_DecodeBlock(reinterpret_cast<unsigned char*>(out.data()),
                                     reinterpret_cast<const unsigned char*>(text.data()),
                                     static_cast<int>(text.size()));
  if (size < 0 || padding == 3 || static_cast<size_t>(size) < padding) {
    return InvalidArgument("is not base64");
  }
  out.resize(static_cast<size_t>(size) - padding);
  return out;
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
      config.credentials_[DomainOfKey(key)] = std::move(credential);
    }
  }
  if (const auto helpers = document.find("credHelpers"); helpers != document.end()) {
    if (!helpers->is_object()) return InvalidArgument("docker config: credHelpers is no object");
    for (const auto& [key, helper] : helpers->items()) {
      if (!helper.is_string()) {
        return InvalidArgument("docker config: credHelpers[\"" + key + "\"] is no text");
      }
      config.helpers_[DomainOfKey(key)] = helper.get<std::string>();
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

Result<Credential> DockerConfig::For(std::string_view domain_text) const {
  const std::string domain = NormalizeDomain(domain_text);
  const auto found = credentials_.find(domain);
  if (found != credentials_.end() && !found->second.empty()) return found->second;
  const auto helper = helpers_.find(domain);
  std::string name = helper != helpers_.end() ? helper->second : "";
  // `docker login` leaves an empty entry behind where it gave the secret to the default helper.
  if (name.empty() && found != credentials_.end()) name = default_helper_;
  if (name.empty()) return Credential();
  return Unimplemented("docker config: " + domain +
                       " is left to the credential helper docker-credential-" + name +
                       ", which Hearth does not run (give it an auths entry of its own)");
}

}  // namespace hearth::oci
