// ProxyFor: which proxy the environment names for a host, by the rules that Go programs follow, so
// that Hearth and the containerd beside it take the same way out.
#pragma once

#include <functional>
#include <string>
#include <string_view>

namespace hearth::net {

// Value of an environment variable, "" when unset.
using Environment = std::function<std::string(const std::string& name)>;
Environment ProcessEnvironment();

// Proxy URL for a request to `scheme`://`host`:`port`, "" for none. Reads HTTP_PROXY or HTTPS_PROXY
// and NO_PROXY, upper case first. `localhost` and loopback addresses never go through a proxy.
// NO_PROXY holds "*", hosts, domains (".a.b" or "a.b": the subdomains too, except that ".a.b"
// leaves out a.b itself), addresses and CIDRs, each with an optional ":port".
std::string ProxyFor(std::string_view scheme, std::string_view host, std::string_view port,
                     const Environment& environment);

}  // namespace hearth::net
