// LabelSelector: which nodes are meant, by their labels, as Kubernetes selects.
//
// A plain value; any thread. An empty selector matches every node.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "base/status.h"

namespace hearth::manager {

struct LabelSelector {
  enum class Operator { kIn, kNotIn, kExists, kDoesNotExist };
  struct Requirement {
    std::string key;
    Operator op = Operator::kExists;
    std::vector<std::string> values;  // empty for kExists and kDoesNotExist, else not

    friend bool operator==(const Requirement&, const Requirement&) = default;
  };

  // All must hold.
  std::vector<Requirement> requirements;

  bool Matches(const std::map<std::string, std::string>& labels) const;

  // "In", "NotIn", "Exists", "DoesNotExist"; kInvalidArgument for others.
  static Result<Operator> ParseOperator(const std::string& text);
  // kInvalidArgument: no label key, or values where the operator takes none or none where it needs
  // some.
  static Status Check(const Requirement& requirement);

  friend bool operator==(const LabelSelector&, const LabelSelector&) = default;
};

}  // namespace hearth::manager
