// Any request target and header value for the file proxy: what is accepted names one http or https
// host, and nothing of this connection alone is passed on. First line: target; the rest: headers,
// "Name: value" a line.
#include <cstdint>
#include <string>
#include <string_view>

#include "plugin/proxy_request.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace hearth::plugin;
  std::string_view text(reinterpret_cast<const char*>(data), size);
  const std::string_view line = text.substr(0, text.find('\n'));
  text.remove_prefix(std::min(text.size(), line.size() + 1));
  for (const char* method : {"GET", "CONNECT"}) {
    const auto target = ProxyTarget::Parse(method, line);
    if (!target.ok() || target->kind == ProxyTarget::Kind::kNone) continue;
    CHECK(!target->host.empty() && target->port != 0);
    CHECK(target->host.find_first_of("/?#@ \r\n") == std::string::npos);
    if (target->kind == ProxyTarget::Kind::kConnect) continue;
    CHECK(IsFileUrl(target->url) && target->url.size() <= ProxyTarget::kMaxUrlBytes);
    const auto again = ProxyTarget::Parse("GET", target->url);
    CHECK(again.ok() && again->url == target->url && again->host == target->host);
  }
  hearth::net::HttpHeaders headers;
  while (!text.empty()) {
    const std::string_view field = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(text.size(), field.size() + 1));
    const size_t colon = field.find(": ");
    if (colon == std::string_view::npos) continue;
    headers.Add(std::string(field.substr(0, colon)), std::string(field.substr(colon + 2)));
  }
  const auto dragonfly = DragonflyHeaders::Parse(headers);
  if (dragonfly.ok() && dragonfly->labels.piece_length) {
    CHECK(*dragonfly->labels.piece_length >= (4u << 20));
  }
  const auto forwarded = ForwardedHeaders(headers, "me");
  for (const char* name : {"Connection", "Keep-Alive", "Proxy-Authorization", "TE", "Upgrade",
                           "Transfer-Encoding", "Host", "X-Dragonfly-Tag"}) {
    CHECK(!forwarded.Has(name));
  }
  CHECK(HasPassed(forwarded, "me"));
  return 0;
}
