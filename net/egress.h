// Egress: which addresses outgoing connections may reach, judged when they are about to be made.
//
// Loopback, link-local and metadata addresses, in every spelling that leads to them (IPv4 inside
// IPv6, NAT64, 6to4), are refused unless the operator named the host or allowed the network: a
// stranger's redirect or DNS name must not reach what listens on this machine. Immutable; any
// thread.
#pragma once

#include <netinet/in.h>
#include <sys/socket.h>

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "base/status.h"

namespace hearth::net {

class Egress {
 public:
  struct Options {
    std::vector<std::string> allow;  // "10.0.0.0/8", "fd00::/8"; node.toml egress_allow
    // Whether the operator names this host and port, in a [registry] table or a [[proxy.rule]].
    // Any thread; null = never.
    std::function<bool(const std::string& host, uint16_t port)> is_named;
  };
  // kInvalidArgument: which network cannot be read.
  static Result<Egress> Create(Options options);

  // `host` as the URL or CONNECT has it. AF_UNSPEC (a proxy makes the connection and looks the name
  // up): the name itself is judged. kPermissionDenied: says which address of what kind, and what to
  // configure.
  Status Check(const std::string& host, const sockaddr& address) const;

 private:
  struct Network {
    in6_addr prefix;  // IPv4 as ::ffff:a.b.c.d
    unsigned bits;
  };
  Status Judge(const std::string& host, uint16_t port, const in6_addr& address) const;
  bool Allows(const in6_addr& address) const;
  Status Refuse(const std::string& host, uint16_t port, const std::string& what,
                const std::string& network) const;

  Options options_;
  std::vector<Network> networks_;
};

}  // namespace hearth::net
