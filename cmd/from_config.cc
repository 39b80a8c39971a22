#include "cmd/from_config.h"

#include <vector>

#include "oci/credentials.h"

namespace hearth::cmd {

Result<oci::RegistryHost> HostOf(const config::NodeConfig& config, const std::string& domain) {
  oci::RegistryHost host;
  const auto table = config.registries.find(domain);
  if (table == config.registries.end()) return host;
  host.plain_http = table->second.plain_http;
  host.ca_file = table->second.ca_file;
  host.endpoints = table->second.endpoints;
  host.shared = table->second.shared;
  if (!table->second.docker_config.empty()) {
    // Read each time: the file is replaced when its secrets change.
    const auto credentials = TRY(oci::DockerConfig::Load(table->second.docker_config));
    host.credential = TRY(credentials.For(domain));
  }
  return host;
}

Result<plugin::ProxyRules> RulesOf(const config::ProxyConfig& config) {
  std::vector<plugin::ProxyRule> rules;
  for (const config::ProxyRule& rule : config.rules) {
    rules.push_back({.match = rule.match,
                     .use_tls = rule.use_tls,
                     .filtered_query_params = rule.filtered_query_params,
                     .tag = rule.tag,
                     .application = rule.application});
  }
  return plugin::ProxyRules::Compile(rules, config.default_filter);
}

store::SpaceLimits LimitsOf(const config::StoreConfig& config, const store::FileSystemSize& size) {
  return {.quota_bytes = config.quota.Of(size.bytes),
          .min_free_bytes = config.min_free.Of(size.bytes),
          .min_free_inodes = config.min_free_inodes.Of(size.inodes)};
}

p2p::Limiter::Rates RatesOf(const config::LimitsConfig& config) {
  return {.upload = config.upload, .download = config.download, .origin = config.origin};
}

bool IsPrivate(const config::NodeConfig& config, const std::string& domain) {
  const auto table = config.registries.find(domain);
  return table != config.registries.end() && table->second.private_strict;
}

}  // namespace hearth::cmd
