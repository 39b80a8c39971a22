// ConnectTcp: a TCP connection to a host by name, each of its addresses checked before it is tried.
#pragma once

#include <sys/socket.h>

#include <chrono>
#include <cstdint>
#include <functional>
#include <string>

#include "base/file.h"
#include "base/status.h"

namespace hearth::net {

// Asked with each address; an error refuses it. Null allows all.
using AddressCheck = std::function<Status(const std::string& host, const sockaddr& address)>;

// A connected, non-blocking socket. Blocks its thread: for the resolver, as long as resolv.conf
// says, and for all addresses together at most `timeout`. kPermissionDenied: every address is
// refused; kUnavailable: no such host, or nobody answers.
Result<Fd> ConnectTcp(const std::string& host, uint16_t port, const AddressCheck& check,
                      std::chrono::milliseconds timeout);

}  // namespace hearth::net
