// Listen: a listening socket from the address that a configuration names.
#pragma once

#include <sys/types.h>

#include <string>

#include "base/file.h"
#include "base/status.h"

namespace hearth::net {

struct Listener {
  Fd fd;                // non-blocking, listening
  std::string address;  // "127.0.0.1:40123", "[::1]:80" or "unix:/path": where it really listens
};

// `where` is "HOST:PORT", "[V6]:PORT" (port 0 = any free one) or "unix:/path".
//
// A unix socket gets `unix_mode` before anybody can reach it, and takes the place of a dead one by
// rename, so that the path never vanishes. The path stays when the socket is closed.
// kAlreadyExists: the address is in use, or a live server answers on the path.
// kFailedPrecondition: something that is no socket lies there. kInvalidArgument: no such address.
Result<Listener> Listen(const std::string& where, mode_t unix_mode);

}  // namespace hearth::net
