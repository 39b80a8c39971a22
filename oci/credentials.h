// Credentials of registries, from a docker config file.
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/log.h"
#include "base/status.h"

namespace hearth::oci {

struct Credential {
  std::string username;
  Secret<std::string> password;
  Secret<std::string> identity_token;  // an OAuth2 refresh token

  bool empty() const { return username.empty() && identity_token.Reveal().empty(); }
  friend bool operator==(const Credential&, const Credential&) = default;
};

// A ~/.docker/config.json or the content of a kubernetes.io/dockerconfigjson secret. Immutable; any
// thread.
class DockerConfig {
 public:
  static constexpr uint64_t kMaxBytes = 1024 * 1024;

  // Errors name the entry, never its content.
  static Result<DockerConfig> Parse(std::string_view json);
  static Result<DockerConfig> Load(const std::filesystem::path& path);

  // Credential of `domain` ("docker.io", "host:5000") for its repository `path` ("library/nginx");
  // an empty one where the file has none. As kubelet matches keys: "HOST[:PORT][/PATH]", a scheme
  // and
  // "/v1/", "/v2/" do not matter, "*" and "?" stand for characters within one label of the host,
  // the path is a prefix, the longer key wins. kUnimplemented where the file sends us to a
  // credential helper for it.
  Result<Credential> For(std::string_view domain, std::string_view path = "") const;

 private:
  struct Entry {
    std::string host;       // normalised; may hold "*" and "?"
    std::string path;       // "team/"
    Credential credential;  // may be empty
  };
  const Entry* Find(std::string_view domain, std::string_view path) const;

  std::vector<Entry> entries_;                  // in the order in which they are tried
  std::map<std::string, std::string> helpers_;  // domain → helper
  std::string default_helper_;
};

}  // namespace hearth::oci
