#include "oci/task_url.h"

#include <algorithm>

#include "oci/go_url.h"
#include "oci/whatwg_url.h"

namespace hearth::oci {

namespace {

using Pairs = std::vector<std::pair<std::string, std::string>>;

void RemoveFiltered(Pairs& pairs, const std::vector<std::string>& filter) {
  std::erase_if(pairs, [&filter](const auto& pair) {
    return std::find(filter.begin(), filter.end(), pair.first) != filter.end();
  });
}

}  // namespace

const std::vector<std::string>& DefaultFilteredQueryParams() {
  static const std::vector<std::string> filter = {
      // Amazon S3
      "X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-Date", "X-Amz-Expires", "X-Amz-SignedHeaders",
      "X-Amz-Signature", "X-Amz-Security-Token", "X-Amz-User-Agent",
      // Google Cloud Storage
      "X-Goog-Algorithm", "X-Goog-Credential", "X-Goog-Date", "X-Goog-Expires",
      "X-Goog-SignedHeaders", "X-Goog-Signature",
      // Alibaba OSS
      "OSSAccessKeyId", "Expires", "Signature", "SecurityToken",
      // Huawei OBS
      "AccessKeyId", "X-Obs-Date", "X-Obs-Security-Token",
      // Tencent COS
      "q-sign-algorithm", "q-ak", "q-sign-time", "q-key-time", "q-header-list", "q-url-param-list",
      "q-signature", "x-cos-security-token",
      // containerd
      "ns"};
  return filter;
}

std::vector<std::string> ParseFilteredQueryParams(std::string_view text, char separator) {
  std::vector<std::string> filter;
  while (!text.empty()) {
    const std::string_view name = text.substr(0, text.find(separator));
    text.remove_prefix(std::min(text.size(), name.size() + 1));
    if (!name.empty()) filter.emplace_back(name);
  }
  return filter;
}

Result<std::string> FilterUrlLikeGo(std::string_view text, const std::vector<std::string>& filter) {
  if (filter.empty()) return std::string(text);
  GoUrl url = TRY(GoUrl::Parse(text));
  Pairs pairs = ParseGoQuery(url.query);
  RemoveFiltered(pairs, filter);
  url.query = EncodeGoQuery(std::move(pairs));
  return url.ToString();
}

Result<std::string> FilterUrlLikeClient151(std::string_view text,
                                           const std::vector<std::string>& filter) {
  WhatwgUrl url = TRY(WhatwgUrl::Parse(text));
  Pairs pairs = ParseFormQuery(url.query);
  RemoveFiltered(pairs, filter);
  url.has_query = !pairs.empty();
  url.query = EncodeFormQuery(pairs);
  std::string out = url.ToString();
  while (url.path == "/" && out.ends_with('/')) out.pop_back();
  return out;
}

Result<std::string> FilterUrlLikeClient1510(std::string_view text,
                                            const std::vector<std::string>& filter) {
  if (filter.empty()) return std::string(text);
  WhatwgUrl url = TRY(WhatwgUrl::Parse(text));
  Pairs pairs = ParseGoQuery(url.query);
  RemoveFiltered(pairs, filter);
  url.has_query = !pairs.empty();
  url.query = EncodeGoQuery(std::move(pairs));
  if (url.empty_path) url.path.clear();
  return url.ToString();
}

}  // namespace hearth::oci
