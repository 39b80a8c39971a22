#include "manager/label_selector.h"

#include <algorithm>

namespace hearth::manager {

namespace {

constexpr size_t kMaxNameBytes = 63;
constexpr size_t kMaxPrefixBytes = 253;

bool IsAlnum(char c) {
  return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

// "app.kubernetes.io/name": an optional DNS name, then a name of letters, digits, "-", "_", ".".
bool IsLabelKey(std::string_view key) {
  const size_t slash = key.find('/');
  if (slash != std::string_view::npos) {
    if (slash == 0 || slash > kMaxPrefixBytes) return false;
    key.remove_prefix(slash + 1);
  }
  return !key.empty() && key.size() <= kMaxNameBytes && IsAlnum(key.front()) &&
         IsAlnum(key.back()) && std::all_of(key.begin(), key.end(), [](char c) {
           return IsAlnum(c) || c == '-' || c == '_' || c == '.';
         });
}

bool Holds(const LabelSelector::Requirement& requirement,
           const std::map<std::string, std::string>& labels) {
  using Operator = LabelSelector::Operator;
  const auto label = labels.find(requirement.key);
  const bool there = label != labels.end();
  const auto& values = requirement.values;
  const bool listed =
      there && std::find(values.begin(), values.end(), label->second) != values.end();
  switch (requirement.op) {
    case Operator::kIn:
      return listed;
    case Operator::kNotIn:
      return !listed;
    case Operator::kExists:
      return there;
    case Operator::kDoesNotExist:
      return !there;
  }
  return false;
}

}  // namespace

bool LabelSelector::Matches(const std::map<std::string, std::string>& labels) const {
  return std::all_of(requirements.begin(), requirements.end(),
                     [&](const Requirement& requirement) { return Holds(requirement, labels); });
}

Result<LabelSelector::Operator> LabelSelector::ParseOperator(const std::string& text) {
  if (text == "In") return Operator::kIn;
  if (text == "NotIn") return Operator::kNotIn;
  if (text == "Exists") return Operator::kExists;
  if (text == "DoesNotExist") return Operator::kDoesNotExist;
  return InvalidArgument("must be In, NotIn, Exists or DoesNotExist");
}

Status LabelSelector::Check(const Requirement& requirement) {
  if (!IsLabelKey(requirement.key)) {
    return InvalidArgument("\"" + requirement.key.substr(0, kMaxNameBytes) +
                           "\" is no label's key");
  }
  const bool takes = requirement.op == Operator::kIn || requirement.op == Operator::kNotIn;
  if (takes == requirement.values.empty()) {
    return InvalidArgument(takes ? "In and NotIn need values"
                                 : "Exists and DoesNotExist take no values");
  }
  return OkStatus();
}

}  // namespace hearth::manager
