// What the config says, in the words of the parts that act on it. Pure but for files that it names.
#pragma once

#include <cstdint>
#include <string>

#include "base/status.h"
#include "config/node_config.h"
#include "oci/registry.h"
#include "p2p/limiter.h"
#include "plugin/proxy_rules.h"
#include "store/collector.h"

namespace hearth::cmd {

Result<oci::RegistryHost> HostOf(const config::NodeConfig& config, const std::string& domain);
Result<plugin::ProxyRules> RulesOf(const config::ProxyConfig& config);
store::SpaceLimits LimitsOf(const config::StoreConfig& config, const store::FileSystemSize& size);
p2p::Limiter::Rates RatesOf(const config::LimitsConfig& config);
// Of the registry's table: its blobs are never handed to other nodes.
bool IsPrivate(const config::NodeConfig& config, const std::string& domain);

}  // namespace hearth::cmd
