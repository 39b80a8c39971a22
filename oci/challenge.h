// Challenge: one entry of a WWW-Authenticate header (RFC 9110 §11.6.1).
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace hearth::oci {

struct Challenge {
  std::string scheme;                             // lower case: "bearer", "basic"
  std::map<std::string, std::string> parameters;  // names in lower case

  // "" when absent.
  std::string Get(const std::string& name) const;
  friend bool operator==(const Challenge&, const Challenge&) = default;
};

// All challenges of all WWW-Authenticate fields, in order; what cannot be read is left out.
std::vector<Challenge> ParseChallenges(const std::vector<std::string_view>& header_values);

}  // namespace hearth::oci
