#include "cmd/address_check.h"

#include <memory>
#include <string>
#include <utility>

#include "net/egress.h"
#include "oci/reference.h"

namespace hearth::cmd {

namespace {

// What the operator names in the config may be reached wherever it is: registries, their endpoints
// and the hosts of proxy rules. A name without a port stands for the default ones.
bool IsNamed(const config::NodeConfig& config, const plugin::ProxyRules& rules,
             const std::string& host, uint16_t port) {
  const std::string name = host.find(':') == std::string::npos ? host : "[" + host + "]";
  const std::string with_port = name + ":" + std::to_string(port);
  const bool is_default = port == 443 || port == 80;
  const auto is_it = [&](const std::string& known) {
    return known == with_port || (is_default && known == name);
  };
  for (const auto& [domain, table] : config.registries) {
    if (is_it(oci::RegistryApiHost(domain))) return true;
    for (const std::string& endpoint : table.endpoints) {
      const std::string rest = endpoint.substr(endpoint.find("://") + 3);
      if (is_it(rest.substr(0, rest.find('/')))) return true;
    }
  }
  return rules.NamesHost(host, port);
}

}  // namespace

Result<net::AddressCheck> AddressCheckOf(const LiveConfig& live, plugin::ProxyRules rules) {
  auto egress = std::make_shared<const net::Egress>(TRY(net::Egress::Create(
      {.allow = live.Get()->egress_allow,
       .is_named = [&live, rules = std::move(rules)](const std::string& host, uint16_t port) {
         return IsNamed(*live.Get(), rules, host, port);
       }})));
  return net::AddressCheck([egress](const std::string& host, const sockaddr& address) {
    return egress->Check(host, address);
  });
}

}  // namespace hearth::cmd
