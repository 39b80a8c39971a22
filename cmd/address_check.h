// AddressCheck: what the node's outgoing connections may reach, by its config. Any thread.
#pragma once

#include "base/status.h"
#include "cmd/live_config.h"
#include "net/connector.h"
#include "plugin/proxy_rules.h"

namespace hearth::cmd {

// For every HTTP client and tunnel that strangers can steer. `live` must outlive the check: its
// registry tables count as they are at each question, egress_allow and `rules` as they are now.
// kInvalidArgument: a network of egress_allow that cannot be read.
Result<net::AddressCheck> AddressCheckOf(const LiveConfig& live, plugin::ProxyRules rules);

}  // namespace hearth::cmd
