// Where the two ends of a TCP socket are.
#pragma once

#include "base/host_port.h"

namespace hearth::net {

// With an empty host for unix sockets, and where the system does not know.
HostPort LocalName(int fd);
HostPort PeerName(int fd);

}  // namespace hearth::net
