// Any bytes as filter expressions (one a line): refused, or they can be asked of any object.
#include <algorithm>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "plugin/filter.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace hearth::plugin;
  std::string_view text(reinterpret_cast<const char*>(data), size);
  std::vector<std::string> expressions;
  while (!text.empty()) {
    const std::string_view line = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(text.size(), line.size() + 1));
    expressions.emplace_back(line);
  }
  const auto filter = Filter::Parse(expressions);
  if (!filter.ok()) return 0;
  const std::map<std::string, std::string> labels{{"a.b/c", "x"}, {"", ""}};
  (void)filter->Matches([&](const FieldPath& path) -> std::optional<std::string> {
    if (path.empty()) return std::nullopt;
    return path[0] == "labels" ? LabelField(path, labels) : std::optional("value");
  });
  return 0;
}
