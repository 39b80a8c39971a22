// A rule's pattern on the first line, a URL on the second: whatever they are, a file's name never
// depends on what the filter leaves out, and a host is named only by a pattern that has one.
#include <cstdint>
#include <string>
#include <string_view>

#include "plugin/proxy_rules.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace hearth::plugin;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const std::string pattern(text.substr(0, text.find('\n')));
  const std::string url(text.substr(std::min(text.size(), pattern.size() + 1)));
  const auto rules = ProxyRules::Compile({{.match = pattern,
                                           .use_tls = true,
                                           .filtered_query_params = {},
                                           .tag = "t",
                                           .application = {}}},
                                         "Expires&Signature");
  if (!rules.ok()) return 0;
  if (rules->NamesHost("host.example", 443)) {
    CHECK(pattern.find("http") != std::string::npos && pattern.find('/') != std::string::npos);
  }
  const FileName name = rules->Name(url, {});
  const auto key = name.Key(name.filter);
  if (!key.ok()) return 0;
  CHECK(name.TaskId().ok() && name.Address().ok() && IsFileUrl(name.url));
  const bool has_query = url.find('?') != std::string::npos || url.find('#') != std::string::npos;
  FileName other = name;
  other.url += has_query ? "" : "?Signature=other";
  CHECK(other.Key(name.filter).value() == *key);
  CHECK(DifferingParameters(name.url, other.url, name.filter).empty());
  (void)WithoutSecrets(url);
  return 0;
}
