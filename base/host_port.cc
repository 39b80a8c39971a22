#include "base/host_port.h"

#include <limits>

#include "base/units.h"

namespace hearth {

Result<HostPort> HostPort::Parse(std::string_view text) {
  const auto refusal = [text] {
    return InvalidArgument("\"" + std::string(text.substr(0, 300)) +
                           "\" is not HOST:PORT (as 10.0.0.1:7733 or [::1]:7733)");
  };
  const size_t colon = text.rfind(':');
  if (colon == std::string_view::npos) return refusal();
  const auto port = ParseDecimal(text.substr(colon + 1));
  if (!port || *port > std::numeric_limits<uint16_t>::max()) return refusal();
  std::string_view host = text.substr(0, colon);
  if (host.starts_with('[') && host.ends_with(']')) {
    host = host.substr(1, host.size() - 2);
  } else if (host.find_first_of(":[]") != std::string_view::npos) {
    return refusal();
  }
  if (host.empty()) return refusal();
  return HostPort{std::string(host), static_cast<uint16_t>(*port)};
}

std::string HostPort::ToString() const {
  const bool bracket = host.find(':') != std::string::npos;
  return (bracket ? "[" + host + "]" : host) + ":" + std::to_string(port);
}

}  // namespace hearth
