// ManagerConfig: everything that manager.toml may say, with its defaults. config/manager.toml
// documents it.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/log.h"
#include "base/status.h"

namespace hearth::config {

inline constexpr const char* kDefaultManagerConfigFile = "/etc/hearth/manager.toml";

struct ManagerApiConfig {
  std::string listen = "0.0.0.0:7780";
  std::vector<std::string> names;  // by which people reach it, for its certificate
  std::string tls_cert;            // PEM files; "" = a certificate of the cluster's own CA
  std::string tls_key;
  bool insecure_http = false;
  friend bool operator==(const ManagerApiConfig&, const ManagerApiConfig&) = default;
};

struct ManagerClusterConfig {
  uint64_t origin = 0;  // bytes per second, all its nodes together; 0 = no limit
  friend bool operator==(const ManagerClusterConfig&, const ManagerClusterConfig&) = default;
};

struct ManagerConfig {
  std::filesystem::path root = "/var/lib/hearth-manager";
  LogLevel log_level = LogLevel::kInfo;
  ManagerApiConfig api;
  std::string grpc_listen = "0.0.0.0:7781";
  std::string admin_token_file;  // "" = made under root at the first start
  std::string key_file;          // of what is sealed; "" = made under root at the first start
  std::vector<std::string> preheat_allow = {"*"};  // host patterns that jobs may name
  std::map<std::string, ManagerClusterConfig> clusters;
  friend bool operator==(const ManagerConfig&, const ManagerConfig&) = default;
};

// As ParseNodeConfig() and LoadNodeConfig().
Result<ManagerConfig> ParseManagerConfig(std::string_view text, const std::string& name,
                                         const std::vector<std::string>& sets);
Result<ManagerConfig> LoadManagerConfig(const std::string& file,
                                        const std::vector<std::string>& sets);
// Keys that differ and need a restart.
std::vector<std::string> RestartKeys(const ManagerConfig& before, const ManagerConfig& after);

}  // namespace hearth::config
