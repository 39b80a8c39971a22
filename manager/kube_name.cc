#include "manager/kube_name.h"

#include <algorithm>

namespace hearth::manager {

namespace {

constexpr size_t kMaxBytes = 253;

bool IsInner(char c) {
  return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '.';
}
bool IsOuter(char c) { return IsInner(c) && c != '-' && c != '.'; }

}  // namespace

bool IsKubeName(std::string_view text) {
  return !text.empty() && text.size() <= kMaxBytes && IsOuter(text.front()) &&
         IsOuter(text.back()) && std::all_of(text.begin(), text.end(), IsInner);
}

bool IsKubePath(std::string_view text) {
  const size_t slash = text.find('/');
  return slash != std::string_view::npos && IsKubeName(text.substr(0, slash)) &&
         IsKubeName(text.substr(slash + 1));
}

}  // namespace hearth::manager
