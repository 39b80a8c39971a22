#include "config/manager_config.h"

#include <algorithm>
#include <utility>

#include "base/file.h"
#include "config/checks.h"
#include "config/toml_section.h"

namespace hearth::config {

namespace {

constexpr uint64_t kMaxConfigBytes = 1 << 20;
constexpr size_t kMaxClusterNameBytes = 64;

bool IsClusterName(const std::string& name) {
  return !name.empty() && name.size() <= kMaxClusterNameBytes &&
         std::ranges::all_of(name, [](char c) {
           return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '.' || c == '-' ||
                  c == '_';
         });
}

bool IsHostName(const std::string& name) {
  return !name.empty() && name.size() <= 253 && std::ranges::all_of(name, [](char c) {
    return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '.' || c == '-' || c == ':';
  });
}

void ReadApi(TomlSection section, ManagerApiConfig& out) {
  section.CheckedText("listen", out.listen, CheckListen);
  section.Texts("names", out.names);
  for (const std::string& name : out.names) {
    if (!IsHostName(name)) section.Reject("names", "\"" + name + "\" is no host name or address");
  }
  section.CheckedText("tls_cert", out.tls_cert, CheckAbsoluteOrEmpty);
  section.CheckedText("tls_key", out.tls_key, CheckAbsoluteOrEmpty);
  if (out.tls_cert.empty() != out.tls_key.empty()) {
    section.Reject(out.tls_cert.empty() ? "tls_cert" : "tls_key",
                   "tls_cert and tls_key go together");
  }
  section.Bool("insecure_http", out.insecure_http);
}

void ReadClusters(TomlSection section, std::map<std::string, ManagerClusterConfig>& out) {
  for (auto& [name, cluster] : section.Named()) {
    ManagerClusterConfig config;
    cluster.Bytes("origin", config.origin);
    if (!IsClusterName(name)) {
      cluster.Reject("origin", "a cluster's name is 1 to 64 letters, digits, '.', '-' and '_'");
    }
    out[name] = config;
  }
}

// "*", "*.example.com", "host", "host:5000"
void ReadPreheat(TomlSection section, std::vector<std::string>& allow) {
  section.Texts("allow", allow);
  for (const std::string& pattern : allow) {
    const std::string host = pattern.starts_with("*.") ? pattern.substr(2) : pattern;
    if (pattern != "*" && !IsHostName(host) && !host.starts_with('[')) {
      section.Reject("allow", "\"" + pattern + "\" is no host, nor *.DOMAIN, nor *");
    }
  }
}

}  // namespace

Result<ManagerConfig> ParseManagerConfig(std::string_view text, const std::string& name,
                                         const std::vector<std::string>& sets) {
  const TomlDocument document = TRY(TomlDocument::Parse(text, name, sets));
  TomlSection root = document.Root();
  ManagerConfig config;
  std::string path = config.root.string();
  root.CheckedText("root", path, CheckAbsolute);
  config.root = path;
  root.Scalar("log_level", [&config](const std::string& level) -> Status {
    config.log_level = TRY(ParseLogLevel(level));
    return OkStatus();
  });
  ReadApi(root.Table("api"), config.api);
  root.Table("grpc").CheckedText("listen", config.grpc_listen, CheckListen);
  root.Table("tokens").CheckedText("admin_token_file", config.admin_token_file,
                                   CheckAbsoluteOrEmpty);
  root.Table("secrets").CheckedText("key_file", config.key_file, CheckAbsoluteOrEmpty);
  ReadPreheat(root.Table("preheat"), config.preheat_allow);
  ReadClusters(root.Table("cluster"), config.clusters);
  TRY_STATUS(document.Finish());
  return config;
}

Result<ManagerConfig> LoadManagerConfig(const std::string& file,
                                        const std::vector<std::string>& sets) {
  std::string path = file;
  if (path.empty()) {
    std::error_code error;
    if (!std::filesystem::exists(kDefaultManagerConfigFile, error)) {
      return ParseManagerConfig("", "defaults", sets);
    }
    path = kDefaultManagerConfigFile;
  }
  const Result<std::string> text = ReadFile(path, kMaxConfigBytes);
  if (!text.ok()) {
    return InvalidArgument("read the config: " + text.status().message() + " (check --config)");
  }
  return ParseManagerConfig(*text, path, sets);
}

std::vector<std::string> RestartKeys(const ManagerConfig& before, const ManagerConfig& after) {
  std::vector<std::string> keys;
  if (before.root != after.root) keys.emplace_back("root");
  if (!(before.api == after.api)) keys.emplace_back("api");
  if (before.grpc_listen != after.grpc_listen) keys.emplace_back("grpc.listen");
  if (before.admin_token_file != after.admin_token_file) {
    keys.emplace_back("tokens.admin_token_file");
  }
  if (before.key_file != after.key_file) keys.emplace_back("secrets.key_file");
  return keys;
}

}  // namespace hearth::config
