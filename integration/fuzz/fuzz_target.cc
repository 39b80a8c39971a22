// Any bytes as the target of a request: it splits within itself, escapes decode or are refused, and
// what is encoded decodes to itself.
#include <cstdint>
#include <string>
#include <string_view>

#include "base/status.h"
#include "net/http.h"
#include "net/http_head.h"
#include "net/proxy.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace hearth::net;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const Target target = SplitTarget(text);
  CHECK(target.path.size() + target.query.size() <= size + 1);  // "/" where there is no path
  const auto decoded = PercentDecode(target.path);
  if (decoded.ok()) CHECK(PercentDecode(PercentEncode(*decoded)).value() == *decoded);
  CHECK(PercentDecode(PercentEncode(text)).value() == text);
  CHECK(QueryValue(target.query, "ns").size() <= target.query.size());
  // A header value that a stranger chose must not end the head early.
  HttpHeaders headers;
  headers.Add("X-Echo", std::string(text));
  const std::string head = FormatHead(200, headers, {}, "now");
  CHECK(head.find("\r\n\r\n") == head.size() - 4);
  // NO_PROXY is an operator's text, the host a stranger's.
  const Environment environment = [&](const std::string& name) -> std::string {
    return name == "HTTP_PROXY" ? "p" : name == "NO_PROXY" ? std::string(target.query) : "";
  };
  const std::string proxy = ProxyFor("http", target.path, "80", environment);
  CHECK(proxy.empty() || proxy == "p");
  return 0;
}
