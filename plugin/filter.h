// Filter: containerd's filter expressions, for List calls.
//
// An expression is selectors joined by "," (all must hold): `name`, `labels."a.b/c"==x`,
// `kind!=active`, `name~=/^k8s/`. Several expressions: any may hold; none, or an empty one: all
// match. A value is bare (up to a comma or blank) or quoted as in Go; regular expressions may also
// stand between / or |. Immutable; any thread.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/status.h"

namespace re2 {
class RE2;
}

namespace hearth::plugin {

using FieldPath = std::vector<std::string>;

class Filter {
 public:
  // The value of an object's field; none = the object has no such field.
  using Fields = std::function<std::optional<std::string>(const FieldPath&)>;

  // kInvalidArgument says where an expression is wrong.
  static Result<Filter> Parse(const std::vector<std::string>& expressions);
  bool Matches(const Fields& fields) const;

  enum class Operator : uint8_t { kPresent, kEqual, kNotEqual, kMatches };
  struct Selector {
    FieldPath path;
    Operator op = Operator::kPresent;
    std::string value;
    std::shared_ptr<const re2::RE2> regex;  // of kMatches
  };

 private:
  std::vector<std::vector<Selector>> alternatives_;  // none = everything matches
};

// "labels" and what follows, joined by ".": the value of that label.
template <typename Labels>
std::optional<std::string> LabelField(const FieldPath& path, const Labels& labels) {
  std::string key;
  for (size_t i = 1; i < path.size(); ++i) key += (i > 1 ? "." : "") + path[i];
  auto found = labels.find(key);
  if (found == labels.end()) return std::nullopt;
  return found->second;
}

}  // namespace hearth::plugin
