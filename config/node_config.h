// NodeConfig: everything that node.toml may say, with its defaults. config/node.toml documents it.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/log.h"
#include "base/status.h"

namespace hearth::config {

inline constexpr const char* kDefaultNodeConfigFile = "/etc/hearth/node.toml";

// Part of a file system ("80%") or a number of bytes.
struct SpaceAmount {
  std::optional<double> percent;  // 0–100; absent = `bytes`
  uint64_t bytes = 0;

  static SpaceAmount Percent(double percent) { return {percent, 0}; }
  static Result<SpaceAmount> Parse(std::string_view text);
  uint64_t Of(uint64_t file_system_bytes) const;
  friend bool operator==(const SpaceAmount&, const SpaceAmount&) = default;
};

struct ContainerdConfig {
  std::string address = "/run/containerd/containerd.sock";  // "" = depth image is off
  std::string containerd_namespace = "k8s.io";
  std::chrono::nanoseconds prepare_wait = std::chrono::seconds(5);
  friend bool operator==(const ContainerdConfig&, const ContainerdConfig&) = default;
};

struct MirrorConfig {
  std::string listen = "127.0.0.1:7733";  // loopback only; port 0 = any free one
  bool serve_stale_tags = false;
  std::chrono::nanoseconds auth_cache = std::chrono::minutes(5);
  friend bool operator==(const MirrorConfig&, const MirrorConfig&) = default;
};

struct ProxyRule {
  std::string match;  // regular expression over the URL
  bool use_tls = false;
  std::string filtered_query_params;  // "a&b"; "" = proxy.default_filter
  std::string tag;
  std::string application;
  friend bool operator==(const ProxyRule&, const ProxyRule&) = default;
};

struct ProxyConfig {
  std::string default_filter;  // "" = Dragonfly's whole list
  bool offline_allow = true;   // offline = "allow" | "deny"
  std::vector<ProxyRule> rules;
  friend bool operator==(const ProxyConfig&, const ProxyConfig&) = default;
};

struct PeerConfig {
  std::string data_listen = "0.0.0.0:7734";
  std::string control_listen = "0.0.0.0:7735";
  std::string advertise;  // "" = ask the route
  friend bool operator==(const PeerConfig&, const PeerConfig&) = default;
};

struct ManagerLinkConfig {
  std::vector<std::string> addresses;  // empty = alone
  std::string cluster = "default";
  std::string join_token_file;
  friend bool operator==(const ManagerLinkConfig&, const ManagerLinkConfig&) = default;
};

struct StoreConfig {
  SpaceAmount quota = SpaceAmount::Percent(80);
  SpaceAmount min_free = SpaceAmount::Percent(20);         // 0 = off
  SpaceAmount min_free_inodes = SpaceAmount::Percent(10);  // likewise; where there is a limit
  friend bool operator==(const StoreConfig&, const StoreConfig&) = default;
};

struct LimitsConfig {  // bytes per second, 0 = none
  uint64_t upload = 0;
  uint64_t uploads = 16;  // at once
  uint64_t download = 0;
  uint64_t origin = 0;
  friend bool operator==(const LimitsConfig&, const LimitsConfig&) = default;
};

struct RegistryConfig {
  std::optional<bool> plain_http;      // absent = loopback registries are, others not
  std::string ca_file;                 // PEM; "" = the system's trust store
  std::vector<std::string> endpoints;  // upstream mirrors, in order
  std::string docker_config;           // credentials of the node itself
  bool shared = false;                 // may they serve other callers
  bool private_strict = false;         // private = "strict": never between nodes
  friend bool operator==(const RegistryConfig&, const RegistryConfig&) = default;
};

struct NodeConfig {
  std::filesystem::path root = "/var/lib/hearth";
  std::filesystem::path run = "/run/hearth";
  uint64_t memory_limit_bytes = 128ull << 20;
  std::string name;  // "" = the host name
  LogLevel log_level = LogLevel::kInfo;
  std::vector<std::string> egress_allow;
  std::map<std::string, std::string> labels;
  ContainerdConfig containerd;
  MirrorConfig mirror;
  ProxyConfig proxy;
  std::string status_listen = "127.0.0.1:7736";
  PeerConfig peer;
  ManagerLinkConfig manager;
  StoreConfig store;
  LimitsConfig limits;
  std::map<std::string, RegistryConfig> registries;  // by host:port

  std::filesystem::path Socket() const { return run / "hearth.sock"; }
  std::filesystem::path AdminSocket() const { return run / "admin.sock"; }
  friend bool operator==(const NodeConfig&, const NodeConfig&) = default;
};

// Of a file's text. `name` stands in messages. kInvalidArgument: "FILE:LINE: KEY: why (what to
// do)", also for what this build cannot do.
Result<NodeConfig> ParseNodeConfig(std::string_view text, const std::string& name,
                                   const std::vector<std::string>& sets);
// `file` "" = kDefaultNodeConfigFile where that exists, else the defaults.
Result<NodeConfig> LoadNodeConfig(const std::string& file, const std::vector<std::string>& sets);

}  // namespace hearth::config
