// HostPort: where something listens, as configurations and messages write it.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/status.h"

namespace hearth {

struct HostPort {
  // "HOST:PORT" or "[V6]:PORT", port 0 to 65535. kInvalidArgument: anything else.
  static Result<HostPort> Parse(std::string_view text);

  std::string ToString() const;

  std::string host;  // a name or an address; IPv6 without its brackets
  uint16_t port = 0;
};

}  // namespace hearth
